"""The plan kept for Figure 3 is what the planner says today, and its figure says what it rests on."""

from pathlib import Path

import pytest

from analysis.load import EXPERIMENTS
from analysis.planned import FIG3, load_plan, memory_by_context
from analysis.style import NoRecords
from tightfit.plan.__main__ import main

SHARED = ("device=17GB", "model=llama2_7b", "dataset.sequence_length=128,256,512,1024,2048,4096", "format=csv")
PLANS = (("optimizer=bp_adam,bp_adam_checkpointed,mezo",), ("optimizer=mezo", "assumptions.rho=0.03125"))


def test_the_plan_kept_is_what_the_planner_says(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for words in PLANS:
        assert main([*SHARED, *words]) == 0
        said.append(capsys.readouterr().out.splitlines())
    kept = (EXPERIMENTS / "on_device_mezo" / "planned" / "fig3.csv").read_text().splitlines()
    assert kept == [*said[0], *said[1][1:]]


def test_the_figure_has_a_line_for_each_method_and_says_that_it_is_derived() -> None:
    figure = memory_by_context(load_plan(FIG3))
    names = ["BP, Adam", "BP, Adam, checkpointed", "MeZO, ρ = 0.15", "MeZO, ρ = 0.0312"]
    for axes in figure.axes:
        assert [line.get_label() for line in axes.get_lines() if not line.get_label().startswith("_")] == names
    words = figure.get_suptitle() + " ".join(text.get_text() for text in figure.texts)
    for assumption in ("derived, not measured", "Batch 8", "2 bytes a weight", "dropout none", "logits of the answer"):
        assert assumption in words


def test_a_figure_without_a_plan_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NoRecords, match=r"no plan is kept as fig3\.csv"):
        load_plan(FIG3, tmp_path)
