from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.collect import collect
from analysis.load import latest, load_results, load_runs, merge, phase_seconds
from tests.analysis.conftest import TABLE
from tests.analysis.miniature import EXAMPLE_BYTES, PARAMETER_BYTES, make_run
from tests.rewritten import rewritten
from tightfit.records.record import seal_of_evals


def test_a_run_folder_becomes_one_row_and_an_evaluation_each(tmp_path: Path):
    make_run(tmp_path, TABLE, "cls1", "mnist_fp32", [0.1, 0.9, 0.8], seed=7, batch_size=32)
    records = load_runs(tmp_path, TABLE)
    (run,) = records.runs.to_dict("records")
    assert (run["cell_row"], run["cell_column"], run["seed"], run["status"]) == ("cls1", "mnist_fp32", 7, "finished")
    assert (run["initial_accuracy"], run["best_accuracy"], run["final_accuracy"]) == (0.1, 0.9, 0.8)
    assert (run["train_seconds"], run["steps"], run["forward_passes"]) == (20.0, 200, 400)
    assert run["total_bytes"] == PARAMETER_BYTES + 32 * EXAMPLE_BYTES + 4 * 11_014 + 4 * 178 * 32
    assert run["commit"] == "0123456789ab"
    assert records.evals["step"].tolist() == [0, 100, 200]
    assert records.evals["train_loss"].isna().tolist() == [True, False, False]


def test_every_setting_of_a_run_is_a_column_by_its_place(tmp_path: Path):
    direction = {"_target_": "any", "noise": "rademacher"}
    for lr in (0.1, {"initial": 0.2, "factor": 0.5}):
        optimizer = {"name": "any", "lr": lr, "direction": direction}
        make_run(tmp_path, TABLE, "any", "mnist_fp32", optimizer=optimizer, method={"noise": "rademacher"})
    runs = load_runs(tmp_path, TABLE).runs
    assert set(runs["optimizer.lr"].dropna()) == {0.1}
    assert set(runs["optimizer.lr.initial"].dropna()) == {0.2}
    assert set(runs["optimizer.direction.noise"]) == set(runs["method.noise"]) == {"rademacher"}
    assert set(runs["training.epochs"]) == {100}
    assert not [name for name in runs if "_target_" in name]


def test_forward_passes_that_are_computed_again_count_as_forward_passes():
    plain, again = {"forward": 3.0, "backward": 6.0}, {"forward": 3.0, "backward": 6.0, "recompute": 2.0}
    assert phase_seconds(plain) == {"forward": 3.0, "backward": 6.0, "perturb": None, "update": None}
    assert phase_seconds(again) == {**phase_seconds(plain), "forward": 5.0}


def test_folders_and_committed_results_give_the_same_tables(runs: Path, experiments: Path):
    local = load_runs(runs, TABLE)
    collect(TABLE, runs, experiments=experiments)
    committed = load_results(TABLE, experiments)
    for ours, theirs, order in (
        (local.runs, committed.runs, ["key"]),
        (local.evals, committed.evals, ["key", "step"]),
    ):
        pd.testing.assert_frame_equal(
            ours.sort_values(order, ignore_index=True), theirs.sort_values(order, ignore_index=True)
        )


def test_nothing_recorded_gives_the_same_columns(tmp_path: Path, runs: Path):
    empty, full = load_runs(tmp_path / "nowhere", TABLE), load_runs(runs, TABLE)
    assert empty.runs.empty
    assert empty.evals.empty
    pd.testing.assert_series_equal(empty.runs.dtypes, full.runs[list(empty.runs)].dtypes)
    pd.testing.assert_series_equal(empty.evals.dtypes, full.evals.dtypes)


@pytest.mark.parametrize(
    "content", ["{not json", '{"schema": 99}', '{"schema": 1}', '{"schema": 2, "key": "only"}', "[1, 2]", ""]
)
def test_a_malformed_folder_is_named_and_the_rest_still_loads(runs: Path, content: str):
    broken = runs / TABLE / "broken"
    broken.mkdir()
    (broken / "run.json").write_text(content)
    with pytest.warns(UserWarning, match="broken is left out") as warned:
        records = load_runs(runs, TABLE)
    assert len(warned) == 1
    assert len(records.runs) == 4


FOREIGN = "no record of this program .*; leave it and keep your runs in another place by paths.runs=…"


@pytest.mark.parametrize("content", ['{"schema": 99}', "[1, 2]", '{"command": "train"}'])
def test_a_record_of_another_program_is_left_where_it_is(tmp_path: Path, content: str):
    (tmp_path / TABLE / "other").mkdir(parents=True)
    (tmp_path / TABLE / "other" / "run.json").write_text(content)
    with pytest.warns(UserWarning, match=FOREIGN):
        load_runs(tmp_path, TABLE)


def test_a_run_whose_evaluations_are_not_those_it_made_is_left_out(tmp_path: Path):
    folder = make_run(tmp_path, TABLE, "cls1", "mnist_fp32", [0.1, 0.9])
    with rewritten(folder) as content:
        content["evaluations"] = {"asked": 1, "made": 1, **seal_of_evals(folder)}
    assert len(load_runs(tmp_path, TABLE).runs) == 1
    (folder / "evals.jsonl").write_bytes((folder / "evals.jsonl").read_bytes().splitlines(keepends=True)[0])
    with pytest.warns(UserWarning, match=r"evals.jsonl does not hold the 2 evaluations that the run had made"):
        assert load_runs(tmp_path, TABLE).runs.empty


def test_a_run_made_in_several_sessions_shows_every_commit_and_machine_that_trained_it(tmp_path: Path):
    folder = make_run(tmp_path, TABLE, "cls1", "mnist_fp32", [0.1, 0.9])
    sessions = [
        {
            "commit": commit * 40,
            "dirty": dirty,
            "machine": {"cpu": cpu, "torch": "2"},
            "from_step": start,
            "to_step": end,
        }
        for commit, dirty, cpu, start, end in [
            ("a", True, "old", 0, 10),
            ("b", False, "never trained", 10, 10),
            ("c", False, "new", 10, 20),
        ]
    ]
    failed = {"commit": "d" * 40, "dirty": False, "machine": {}}
    with rewritten(folder) as content:
        content["sessions"] = [sessions[0], failed, *sessions[1:]]
    (run,) = load_runs(tmp_path, TABLE).runs.to_dict("records")
    assert (run["commit"], run["cpu"], run["torch"]) == (f"{'a' * 12} + {'c' * 12}", "old + new", "2")
    assert run["dirty"]


def test_a_malformed_evaluation_is_named_and_the_rest_still_loads(runs: Path):
    folder = make_run(runs, TABLE, "cls1", "mnist_fp32", [0.1, 0.9])
    (folder / "evals.jsonl").write_text('{"step": 0}\n')
    with pytest.warns(UserWarning, match=f"{folder.name} is left out: KeyError"):
        assert len(load_runs(runs, TABLE).runs) == 4


def test_keys_that_look_like_numbers_stay_text(tmp_path: Path, experiments: Path):
    folder = make_run(tmp_path, TABLE, "full_zo", "mnist_fp32", [0.1, 0.2])
    with rewritten(folder) as content:
        content["key"] = "0123456789e5"
    folder.rename(folder.with_name("0123456789e5"))
    collect(TABLE, tmp_path, experiments=experiments)
    committed = load_results(TABLE, experiments)
    assert committed.runs["key"].tolist() == ["0123456789e5"]
    assert committed.evals["key"].tolist() == ["0123456789e5"] * 2


def test_the_examples_scored_are_found_from_the_accuracies(tmp_path: Path):
    make_run(tmp_path, TABLE, "full_zo", "mnist_fp32", [103 / 1024, 512 / 1024, 770 / 1024])
    assert load_runs(tmp_path, TABLE).runs["split_examples"].tolist() == [1024]


def test_the_examples_scored_are_those_on_record_where_they_are(tmp_path: Path):
    folder = make_run(tmp_path, TABLE, "full_zo", "mnist_fp32", [0.5, 0.75])
    with rewritten(folder) as content:
        content["dataset"]["scored_size"] = 500
    assert load_runs(tmp_path, TABLE).runs["split_examples"].tolist() == [500]


def test_of_two_records_of_a_run_the_one_started_last_counts(tmp_path: Path):
    early, late = "2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"
    make_run(tmp_path / "a", TABLE, "full_zo", "mnist_fp32", [0.1, 0.6, 0.7], started_at=late)
    make_run(tmp_path / "b", TABLE, "full_zo", "mnist_fp32", [0.1, 0.5], started_at=early)
    first, second = load_runs(tmp_path / "a", TABLE), load_runs(tmp_path / "b", TABLE)
    for merged in (merge(first, second), merge(second, first)):
        assert merged.runs["final_accuracy"].tolist() == [0.7]
        assert merged.evals["accuracy"].tolist() == [0.1, 0.6, 0.7]


def test_an_outdated_configuration_is_not_another_seed(tmp_path: Path):
    make_run(tmp_path, TABLE, "full_zo", "mnist_fp32", [0.1, 0.7], started_at="2026-01-02", device="cpu")
    make_run(tmp_path, TABLE, "full_zo", "mnist_fp32", [0.1, 0.6], started_at="2026-01-01")
    assert latest(load_runs(tmp_path, TABLE).runs, ["seed"])["final_accuracy"].tolist() == [0.7]
