from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.collect import collect
from analysis.load import load_results, results_paths
from tests.analysis.conftest import TABLE
from tests.analysis.miniature import make_run
from tests.rewritten import rewritten


def test_rows_once_committed_stay_when_their_folders_are_gone(runs: Path, experiments: Path):
    collect(TABLE, runs, experiments=experiments)
    before = [path.read_bytes() for path in results_paths(TABLE, experiments)]
    shutil.rmtree(runs)
    collect(TABLE, runs, experiments=experiments)
    assert [path.read_bytes() for path in results_paths(TABLE, experiments)] == before


def test_new_runs_join_those_committed(runs: Path, experiments: Path):
    collect(TABLE, runs, experiments=experiments)
    shutil.rmtree(runs)
    make_run(runs, TABLE, "cls2", "mnist_fp32", [0.1, 0.95])
    said = collect(TABLE, runs, experiments=experiments)
    committed = load_results(TABLE, experiments)
    assert said == f"{TABLE}: 4 runs were committed, 1 added, 5 now"
    assert len(committed.runs) == 5
    assert len(committed.evals) == 4 * 3 + 2


def test_a_collected_record_has_all_of_the_run_but_the_places_of_its_collector(runs: Path, experiments: Path):
    mirror = {"paths": {"runs": "/home/me/runs"}, "tracker": {"entity": "me"}}
    folder = make_run(runs, TABLE, "cls2", "mnist_fp32", [0.1, 0.95], **mirror)
    with rewritten(folder) as content:
        content |= {"command": ["seed=0", "paths.runs=/home/me/runs", "+tracker.entity=me"], "code_version": 3}
        content["summary"]["weights_sha256"] = "ab12"
    collect(TABLE, runs, experiments=experiments)
    record = load_results(TABLE, experiments).full[folder.name]
    assert (record["command"], record["code_version"], record["summary"]["weights_sha256"]) == (["seed=0"], 3, "ab12")
    assert record["config"] == {name: value for name, value in content["config"].items() if name not in mirror}
    assert (record["machine"], record["method"], record["commit"]) == tuple(
        content[name] for name in ("machine", "method", "commit")
    )
    assert "/home/me" not in results_paths(TABLE, experiments)[0].read_text()


def test_a_damaged_line_is_named(runs: Path, experiments: Path):
    collect(TABLE, runs, experiments=experiments)
    path = results_paths(TABLE, experiments)[0]
    lines = path.read_text().splitlines(keepends=True)
    for wrong, said in (("{", "is damaged in line 2"), ("{}", "has no record of schema 2 in line 2")):
        path.write_text("".join([lines[0], f"{wrong}\n", *lines[2:]]))
        with pytest.raises(ValueError, match=f"table1.jsonl {said}.*restore the file"):
            load_results(TABLE, experiments)


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_runs_that_did_not_end_are_not_collected(tmp_path: Path, experiments: Path, status: str):
    make_run(tmp_path, TABLE, "cls2", "mnist_fp32", [0.1, 0.95], status=status)
    assert "nothing written" in collect(TABLE, tmp_path, experiments=experiments)
    assert not results_paths(TABLE, experiments)[0].exists()


@pytest.mark.parametrize("status", ["finished", "over_budget", "diverged"])
def test_runs_that_ended_are_collected_however_they_ended(tmp_path: Path, experiments: Path, status: str):
    make_run(tmp_path, TABLE, "cls2", "mnist_fp32", status=status)
    collect(TABLE, tmp_path, experiments=experiments)
    assert load_results(TABLE, experiments).runs["status"].tolist() == [status]


def test_only_the_asked_profile_is_collected(tmp_path: Path, experiments: Path):
    for profile in ("paper", "short"):
        make_run(tmp_path, TABLE, "cls2", "mnist_fp32", [0.1, 0.95], profile=profile)
    collect(TABLE, tmp_path, experiments=experiments)
    assert load_results(TABLE, experiments).runs["profile"].tolist() == ["paper"]
    collect(TABLE, tmp_path, "short", experiments)
    assert load_results(TABLE, experiments).runs["profile"].tolist() == ["paper", "short"]


def test_accuracies_are_exact_to_the_count(tmp_path: Path, experiments: Path):
    counts = [(count, examples) for examples in (1024, 2468, 10_000) for count in (0, 1, 777, examples - 1)]
    accuracies = [count / examples for count, examples in counts]
    make_run(tmp_path, TABLE, "cls2", "mnist_fp32", accuracies)
    collect(TABLE, tmp_path, experiments=experiments)
    kept = load_results(TABLE, experiments).evals["accuracy"].tolist()
    assert [share * examples for share, (_, examples) in zip(kept, counts, strict=True)] == pytest.approx(
        [count for count, _ in counts], abs=1e-5
    )


def test_runs_are_looked_for_where_runs_are_told_to_be_kept(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "analysis.collect", "nowhere/nothing"],
        env={**os.environ, "TIGHTFIT_RUNS": str(tmp_path / "mine")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"no ended paper runs in {tmp_path / 'mine'}" in said.stdout
