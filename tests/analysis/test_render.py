"""One page in four forms."""

import pandas as pd
import pytest

from analysis.figures import main
from analysis.page import Page, table
from analysis.render.data import csv
from analysis.render.latex import latex
from analysis.render.markdown import markdown
from analysis.render.terminal import terminal

PAGE = Page(
    "Gain in 100 %",
    ("", table(("method", "accuracy ± (n)"), [("a_b", "97.5 ± 0.1 (3)"), ("c", "–")]), "How to read it."),
    "a CPU & 2 cores",
    {"": pd.DataFrame({"row": ["a_b"], "mean": [0.975]})},
)


def test_markdown_leaves_out_what_says_nothing() -> None:
    assert markdown(PAGE) == (
        "**Gain in 100 %**\n\n"
        "| method | accuracy ± (n) |\n| --- | --- |\n| a_b | 97.5 ± 0.1 (3) |\n| c | – |\n\n"
        "How to read it.\n\na CPU & 2 cores\n"
    )


def test_numbers_end_at_the_right() -> None:
    numbers = Page("t", (table(("", "a", "b"), [("x", "1", "2")], numeric=True),), "")
    assert "| --- | ---: | ---: |" in markdown(numbers)
    assert r"\begin{tabular}{lrr}" in latex(numbers)


def test_latex_writes_out_what_it_would_read_as_a_command() -> None:
    text = latex(PAGE)
    assert r"\textbf{Gain in 100 \%}" in text
    assert r"a\_b & 97.5 $\pm$ 0.1 (3) \\" in text
    assert r"\begin{tabular}{ll}" in text
    assert r"a CPU \& 2 cores" in text


@pytest.mark.parametrize(
    ("experiment", "cell"),
    [
        ("elasticzo/table1", r"ZO-Feat-Cls1 & 97.17 $\pm$ 0.26 (5)"),
        ("mobizo/queries", r"MiniLM-L6 & 16 & 1 & 79.00 (1)"),
    ],
)
def test_a_recorded_table_is_printed_as_latex_and_nothing_is_written(
    experiment: str, cell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--latex", experiment])
    text = capsys.readouterr().out
    assert cell in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") > 0
    assert not set("±×–†‡") & set(text)


def test_in_a_terminal_columns_line_up() -> None:
    assert terminal(PAGE).splitlines() == [
        *("Gain in 100 %", ""),
        *("method  accuracy ± (n)", "──────  ──────────────", "a_b     97.5 ± 0.1 (3)", "c       –", ""),
        *("How to read it.", "", "a CPU & 2 cores"),
    ]


def test_data_are_a_row_each() -> None:
    assert csv(PAGE.data[""]) == "row,mean\na_b,0.975\n"
