"""A sweep ends in a table of its own runs, and `tightfit ls` tells all runs apart in words."""

import shlex
from pathlib import Path

import pytest

from tightfit.commands import main
from tightfit.launch.reproduce import plan
from tightfit.records.record import read_run
from tightfit.run.progress import describe

from .test_verbs import Call, call  # noqa: F401, a fixture

SWEEP = (
    "tracker=local profile=smoke dataset._target_=tests.synthetic.bars training.evaluations=2 paths.runs={runs} "
    "experiment=mine optimizer=bp_sgd optimizer.lr=0.01,0.05 seed=0,1"
)


def lines_of(told: str, word: str) -> list[list[str]]:
    return [line.split() for line in told.splitlines() if f" {word} " in line and not line.startswith("[")]


@pytest.mark.slow
def test_a_sweep_ends_in_an_answer_and_ls_lists_its_runs(call: Call, tmp_path: Path) -> None:  # noqa: F811
    sweep = SWEEP.format(runs=tmp_path)
    earlier = sweep.replace("0.01,0.05", "0.2").replace("seed=0,1", "seed=0")
    assert call(f"run {earlier}")[0] == 0
    code, told = call(f"run {sweep}")
    assert code == 0
    runs = plan(shlex.split(sweep))
    records = [record for run in runs if (record := read_run(run.folder))]
    table = told.rpartition("Your runs: ")[2]
    assert "macro F1" in table
    assert "most frequent class" in table
    assert " 4 runs, " in table  # none of which is left out for another's sake, and not the one from before
    for rate in ("0.01", "0.05"):
        ends = [r.summary["final_accuracy"] for r in records if r.config["optimizer"]["lr"] == float(rate)]
        (line,) = lines_of(table, rate)
        assert f"{50 * sum(ends):.2f}" in line
        assert "(2)" in line
    code, listed = call(f"ls runs={tmp_path}")
    assert code == 0
    assert f"5 runs in {tmp_path}" in listed
    for run, record in zip(runs, records, strict=True):
        (line,) = [line for line in listed.splitlines() if line.startswith(run.folder.name)]
        assert f"optimizer.lr={run.config['optimizer']['lr']:g} " in line
        assert f"{100 * record.summary['final_accuracy']:.2f} of test" in line
    labels = {describe(run.config) for run in runs}
    assert len(labels) == 4
    assert all(f"[{label}] " in told for label in labels)


def test_a_single_run_has_no_table(call: Call, tmp_path: Path) -> None:  # noqa: F811
    words = SWEEP.format(runs=tmp_path).replace("0.01,0.05", "0.2").replace("seed=0,1", "seed=0")
    code, told = call(f"run {words}")
    assert (code, "Your runs" in told) == (0, False)


def test_a_folder_without_runs_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", f"runs={tmp_path}"]) == 1
    assert f"runs={tmp_path} has no run in it; name a folder of runs" in capsys.readouterr().err
