"""What is said of a cell and of a run: all that is behind the number."""

from pathlib import Path

import pytest

from analysis.collect import collect
from analysis.defaults import defaults_of
from analysis.explain import main
from tests.analysis.conftest import TABLE
from tests.analysis.miniature import make_run
from tests.rewritten import rewritten
from tightfit.records.places import CONF

CELL = f"{TABLE}[mnist_fp32, full_zo]"


@pytest.fixture
def told(runs: Path, experiments: Path, capsys: pytest.CaptureFixture[str]):
    """What is printed of words, and the exit code."""

    def tell(*words: str) -> tuple[str, int]:
        code = main(words, runs, experiments)
        printed = capsys.readouterr()
        return printed.out + printed.err, code

    return tell


def test_a_cell_shows_its_runs_and_those_that_were_superseded_with_what_was_other(runs: Path, experiments: Path, told):
    optimizer = {"name": "elastic_zo", "bp_layers": 1, "lr": 0.5}
    early = make_run(runs, TABLE, "full_zo", "mnist_fp32", [0.1, 0.5], optimizer=optimizer, started_at="2025-01-01")
    collect(TABLE, runs, experiments=experiments)
    text, code = told(CELL)
    assert code == 0
    assert "paper profile: 91.00 ± 1.00 (3)" in text
    assert "92.00% of" in text
    assert f"run {early.name} · seed 0 · finished · superseded by" in text
    assert "started later; here optimizer.lr=0.5, there None" in text
    assert "sha256 at the start not recorded" in text


def test_a_folder_of_a_run_is_explained_with_its_evidence_and_its_command(runs: Path, told):
    folder = make_run(runs, TABLE, "cls1", "mnist_fp32", [0.1, 0.9])
    with rewritten(folder) as content:
        content["command"] = ["optimizer=elastic_zo", "dataset.template={text} was"]
        content["dataset"] |= {"route": "by hand", "checksums": {"train": "ab12"}}
        content["model"]["initial_weights_sha256"] = "cd34"
    text, code = told(str(folder))
    assert code == 0
    for said in (
        "route by hand, train sha256 ab12",
        "sha256 at the start cd34",
        "git checkout 0123456789ab && python -m tightfit.run optimizer=elastic_zo 'dataset.template={text} was'",
        'cpu="Example CPU"',
    ):
        assert said in text


def test_settings_other_than_the_defaults_come_first(runs: Path, told):
    config = {"optimizer": {"name": "mezo", "eps": 0.5, "queries": 1}}
    folder = make_run(runs, TABLE, "full_zo", "mnist_fp32", [0.1, 0.9], **config)
    chosen, usual = (
        line for line in told(str(folder))[0].splitlines() if line.strip().partition(" ")[0] in ("set", "default")
    )
    assert "optimizer.eps=0.5" in chosen
    assert "optimizer.queries=1" in usual


def test_defaults_are_those_of_an_option_and_of_what_it_is_made_of():
    found = defaults_of({"optimizer": {"name": "bp_adam_checkpointed"}}, CONF)
    assert (found["optimizer.rule.beta1"], found["optimizer.activations.name"]) == (0.9, "checkpointed")
    assert found["training.batch_size"] == 32
    assert "optimizer.lr" not in found  # which is the rule's


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("elasticzo/tabel1", "names no recorded experiment and no folder of a run; there are elasticzo/table1"),
        (f"{TABLE}[mnist_fp32, mezo]", f"there are {TABLE}[mnist_fp32, full_bp], {CELL}"),
        (f"{TABLE}[mnist_fp32]", "names no recorded experiment"),
    ],
)
def test_what_is_not_there_is_told_in_a_line_with_what_is(runs: Path, experiments: Path, told, word: str, said: str):
    collect(TABLE, runs, experiments=experiments)
    text, code = told(word)
    assert code == 2
    assert said in text
    assert text.count("\n") == 1


def test_an_experiment_alone_lists_its_cells(told):
    text, code = told(TABLE)
    assert code == 0
    assert text.splitlines()[1:] == [f"  {TABLE}[mnist_fp32, full_bp]", f"  {CELL}"]


def test_without_words_it_says_how_it_is_used(told):
    assert told()[1] == 2
    assert told("--help")[1] == 0
