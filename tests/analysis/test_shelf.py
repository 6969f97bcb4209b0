"""The shelf's table and figure, from made records whose numbers can be checked by hand."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.collect import collect
from analysis.figures import report_experiment
from analysis.load import EXPERIMENTS, Records, load_results, load_runs
from analysis.render.markdown import markdown
from analysis.shelf import beside_inference, front, page, standings
from analysis.shelf_figure import PANELS, accuracy_by_passes, with_work
from analysis.style import NoRecords
from tests.analysis.miniature import EXAMPLE_BYTES, PARAMETER_BYTES, make_run
from tests.analysis.test_check import ENTRY

SHELF = "zo_shelf/lenet5"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two seeds of MeZO; FZOO with fewer steps of more passes, in half the time; a forward gradient; one diverged."""
    runs = tmp_path / "runs"

    def make(row: str, *accuracies: float, **how: Any) -> None:
        make_run(runs, SHELF, row, "mnist_fp32", accuracies, **{"method": {"queries": 1}, **how})

    for seed in (0, 1):
        make("mezo", 0.1, 0.4, 0.6 + 0.1 * seed, seed=seed, passes=(2, 0))
        make("fzoo", 0.1, 0.5, 0.8 + 0.1 * seed, seed=seed, seconds=5.0, passes=(2, 0))
    make("forward_gradient", 0.1, 0.2, 0.3, passes=(1, 0))
    make("lozo", 0.1, status="diverged", reason="loss is nan at step 7; lower the learning rate")
    return runs


@pytest.fixture
def records(folder: Path) -> Records:
    return load_runs(folder, SHELF)


def test_methods_stand_below_what_they_extend_by_their_accuracy(records: Records) -> None:
    found = standings(records)
    assert [one.row for one in found] == ["mezo", "fzoo", "forward_gradient", "lozo"]
    mezo, fzoo, forward, lozo = found
    assert fzoo.final is not None
    assert (fzoo.final.mean, fzoo.final.n) == (pytest.approx(0.85), 2)
    assert (mezo.passes, forward.passes) == (400, 200)
    assert (mezo.above, lozo.final, lozo.note) == (None, None, "diverged at step 7")
    assert fzoo.above is not None
    assert fzoo.above.probability == 1.0


def test_equal_seconds_are_those_of_the_method_that_is_done_first(records: Records) -> None:
    """FZOO is done after 10 s, when MeZO is at the first of its two evaluations."""
    mezo, fzoo, *_ = standings(records)
    assert (mezo.early, fzoo.early) == (pytest.approx(0.4), pytest.approx(0.85))
    assert "Equal seconds are 10 s of training." in markdown(page(records, records.runs, "paper"))


def test_seconds_of_several_machines_are_not_compared(records: Records) -> None:
    other = records.runs.assign(cpu=["Another CPU", *records.runs["cpu"][1:]])
    text = markdown(page(Records(other, records.evals, records.full), records.runs, "paper"))
    assert "for the runs are of several machines" in text


def test_bytes_are_those_that_inference_does_not_hold(records: Records) -> None:
    total = PARAMETER_BYTES + 32 * EXAMPLE_BYTES
    inference = PARAMETER_BYTES + EXAMPLE_BYTES * 32 // 4
    assert beside_inference(records.runs[records.runs["cell_row"] == "mezo"]) == total * 3 // 4 - inference


def test_trials_are_counted_of_those_committed(folder: Path, tmp_path: Path) -> None:
    tuning, experiments = "zo_shelf/tuning/lenet5", tmp_path / "experiments"
    for lr in (1, 2, 3):
        make_run(folder, tuning, "fzoo", "mnist_fp32", [0.1, 0.2], optimizer={"name": "fzoo", "lr": lr})
    collect(tuning, folder, experiments=experiments)
    found = {one.row: one.trials for one in standings(load_runs(folder, SHELF), experiments)}
    assert found == {"mezo": 0, "fzoo": 3, "forward_gradient": 0, "lozo": 0}
    assert load_results(tuning, experiments).evals["forward_passes"].tolist() == [0, 200] * 3
    key = load_results(tuning, experiments).runs["key"][0]
    entry = {**ENTRY, "recorded": SHELF, "tuning": tuning, "columns": ["mnist_fp32"]}
    said = {SHELF: entry | {"superseded": [{"key": key, "reason": "a fault"}]}}
    (experiments / "protocol.yaml").write_text(str(said))
    found = {one.row: one.trials for one in standings(load_runs(folder, SHELF), experiments)}
    assert found["fzoo"] == 2


def test_a_run_with_a_derivative_is_as_long_as_one_with_two_losses(records: Records) -> None:
    known = with_work(records)
    for row in ("mezo", "forward_gradient"):
        key = known.runs.loc[known.runs["cell_row"] == row, "key"].iloc[0]
        assert known.evals.loc[known.evals["key"] == key, "work"].tolist() == [0, 200, 400]


def test_evaluations_that_tell_no_passes_go_by_their_steps(records: Records) -> None:
    silent = Records(records.runs, records.evals.assign(forward_passes=None), records.full)
    told, known = (with_work(each).evals["work"].dropna().tolist() for each in (silent, records))
    assert told == known


def test_the_front_is_what_nothing_beats_in_both() -> None:
    assert front([(0, 0.5), (0, 0.6), (4, 0.6), (4, 0.9), (8, 0.8)]) == {1, 3}
    assert front([(0, 0.5), (0, 0.5)]) == {0, 1}
    assert front([(1, 9, 0.5), (9, 1, 0.5), (9, 9, 0.5), (9, 9, 0.6)]) == {0, 1, 3}


def test_the_figure_has_the_baseline_in_each_panel_and_names_the_front(records: Records) -> None:
    figure = accuracy_by_passes(records)
    *panels, front_panel = figure.axes
    words = [{text.get_text() for text in axes.texts} for axes in figure.axes]
    assert len(panels) == 2
    assert all("MeZO 65.0%" in told for told in words[:-1])
    assert "FZOO 85.0%" in words[1]
    assert words[-1] == {"FZOO"}
    assert front_panel.get_xlabel() == "KiB beside inference"


def test_a_report_writes_the_table_and_the_figure(folder: Path, tmp_path: Path, without_results: Path) -> None:
    files = report_experiment(SHELF, "paper", folder, out=tmp_path / "figures", experiments=without_results)
    assert [path.name for path in files] == [
        "lenet5.md",
        "lenet5.csv",
        "accuracy_by_passes.png",
        "accuracy_by_passes.svg",
    ]
    text = files[0].read_text()
    assert "| FZOO | 85.00 ± 7.07 (2) |" in text
    assert "diverged at step 7" in text


def test_without_records_the_figure_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(NoRecords, match="run make reproduce-zo-shelf"):
        accuracy_by_passes(load_runs(tmp_path, SHELF))


def test_without_records_the_page_says_that_there_are_none(tmp_path: Path) -> None:
    none = load_runs(tmp_path, SHELF)
    assert markdown(page(none, none.runs, "paper")).split("\n\n") == [
        "**The zeroth-order shelf by equal work**",
        "no runs yet\n",
    ]


def test_every_row_of_the_shelf_has_a_name_and_a_panel() -> None:
    rows = {path.stem for path in (EXPERIMENTS / "zo_shelf/row").glob("*.yaml")}
    named = yaml.safe_load((EXPERIMENTS / "zo_shelf/paper.yaml").read_text())["rows"]
    drawn = {row for rows_of in PANELS.values() for row in rows_of}
    assert rows - {"mezo"} == drawn
    assert drawn - {"cls2"} <= set(named)  # which another paper names
