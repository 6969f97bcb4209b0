"""What an offline run leaves, read back from its transaction log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.planted import leaks, plant
from tests.test_session import config
from tightfit.records.record import append_eval, write_run
from tightfit.run.session import carry_out
from tightfit.tracking.description import RECORD, description
from tightfit.tracking.wandb import WandbTracker

ROWS = [
    {"step": 0, "train_seconds": 0.0, "train_loss": None, "test_accuracy": 0.1},
    {"step": 20, "train_seconds": 1.5, "train_loss": 2.0, "test_accuracy": 0.7},
    {"step": 40, "train_seconds": 3.0, "train_loss": 1.0, "test_accuracy": 0.6},
]
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)


@pytest.fixture(scope="module")
def planted() -> Iterator[None]:
    """Secrets in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any, example_record: Any, settle: Any, planted: None) -> Path:
    """A finished run with a table and a figure, and one that went on after step 20, all in one process."""
    folder: Path = tmp_path_factory.mktemp("tracked")
    tracker = WandbTracker(mode="offline")
    record = example_record("finished")
    tracker.start(record, folder / "finished", None)
    for row in ROWS:
        tracker.log(row)
    record.memory = {"batch_size": 32, "budget_bytes": 1_572_864, "analytic": {"activations": 1000, "total": 3000}}
    record.status, record.summary = "finished", {"best_accuracy": 0.7, "final_accuracy": 0.6, "peak_bytes": 2_000_000}
    tracker.finish(record)

    cut_short = example_record("cut short")
    tracker.start(cut_short, folder / "cut short", None)
    tracker.log(ROWS[0])
    cut_short.status, cut_short.summary = "finished", {"best_accuracy": 0.7}
    write_run(folder / "cut short", cut_short)
    for row in ROWS:
        append_eval(folder / "cut short", row)

    resumed = example_record("resumed")
    tracker.start(resumed, folder / "resumed", 20)
    tracker.log(ROWS[2])
    resumed.status, resumed.reason = "diverged", "loss is nan at step 41"
    tracker.finish(resumed)

    (folder / "table1.csv").write_text("row,accuracy\nfull_zo,89.8\nfull_bp,\n")
    (folder / "figure.png").write_bytes(PIXEL)
    files = [folder / "table1.csv", folder / "figure.png"]
    tracker.log_artifacts("elasticzo/table1", files, "table", folder / "report")
    settle(tracker)
    return folder


def test_an_offline_run_reads_back_as_it_was_told(folder: Path, read_back: Any, example_record: Any) -> None:
    (run,) = read_back(folder / "finished")
    assert (run.id, run.group, run.job_type) == ("finished", "elasticzo/table1", "mezo")
    assert run.tags == ["mnist", "lenet5", "mezo", "1.5MiB", "smoke", "seed=3"]
    assert {name: run.config[name] for name in run.config if name != "_wandb"} == example_record("").config
    assert run.exit_code == 0


def test_rows_keep_their_steps_and_leave_out_what_is_unknown(folder: Path, read_back: Any) -> None:
    (run,) = read_back(folder / "finished")
    kept = [{name: value for name, value in row.items() if not name.startswith("_")} for row in run.rows]
    assert kept == [{"step": 0, "train_seconds": 0.0, "test_accuracy": 0.1}, *ROWS[1:]]


def test_curves_are_drawn_over_training_seconds(folder: Path, read_back: Any) -> None:
    (run,) = read_back(folder / "finished")
    assert run.step_metrics["*"] == "train_seconds"


def test_the_summary_has_the_last_values_and_how_the_run_ended(folder: Path, read_back: Any) -> None:
    (run,) = read_back(folder / "finished")
    assert run.summary.items() >= {"test_accuracy": 0.6, "train_loss": 1.0, "train_seconds": 3.0}.items()
    assert run.summary.items() >= {"best_accuracy": 0.7, "final_accuracy": 0.6, "peak_bytes": 2_000_000}.items()
    assert run.summary.items() >= {"status": "finished", "reason": ""}.items()


def test_a_resumed_run_goes_on_under_its_id_after_its_step(folder: Path, read_back: Any) -> None:
    (run,) = read_back(folder / "resumed")
    assert (run.id, [row["step"] for row in run.rows]) == ("resumed", [40])


def test_a_run_that_did_not_end_well_says_so(folder: Path, read_back: Any) -> None:
    (run,) = read_back(folder / "resumed")
    assert (run.summary["status"], run.summary["reason"], run.exit_code) == ("diverged", "loss is nan at step 41", 1)


def test_tables_and_figures_become_an_artifact_and_can_be_looked_at(folder: Path, read_back: Any) -> None:
    (report,) = read_back(folder / "report")
    assert report.job_type == "report"
    assert ("elasticzo-table1", "table", ["figure.png", "table1.csv"]) in report.artifacts
    shown = {name: value["_type"] for row in report.rows for name, value in row.items() if isinstance(value, dict)}
    assert shown == {"table1": "table-file", "figure": "image-file"}


def test_runs_of_a_sweep_have_names_of_their_own_that_tell_rate_budget_and_seed(example_record: Any) -> None:
    first, second = (description(example_record(key)) for key in ("123456789abc", "abcdef123456"))
    assert first["name"] == "full_zo mnist_fp32 lr=0.0003 1.5MiB seed=3 123456"
    assert second["name"] != first["name"]
    record = example_record("123456789abc")
    record.config |= {"cell": None, "memory_budget": {"name": "unlimited"}, "optimizer": {"name": "zo_int8"}}
    assert description(record)["name"] == "zo_int8 mnist seed=3 123456"


def test_the_summary_has_the_memory_that_accuracy_is_to_be_seen_against(folder: Path, read_back: Any) -> None:
    (run,) = read_back(folder / "finished")
    sizes = {"batch_size": 32, "budget_bytes": 1_572_864, "activations_bytes": 1000, "total_bytes": 3000}
    assert run.summary.items() >= sizes.items()


def test_everything_stays_in_the_run_folder(folder: Path) -> None:
    assert {path.name for path in (folder / "finished").iterdir()} == {"wandb"}
    assert list((folder / "report" / "wandb" / "artifacts" / "staging").iterdir())


def test_no_file_holds_a_secret_of_the_environment(folder: Path) -> None:
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert any(b"full_zo" in content for content in contents)
    assert leaks(folder) == []


def test_no_file_of_a_run_that_is_mirrored_with_its_whole_record_holds_a_secret(
    tmp_path: Path, planted: None, settle: Any, read_back: Any
) -> None:
    tracker = {"_target_": "tightfit.tracking.wandb.WandbTracker", "mode": "offline"}
    outcome = carry_out(config(tmp_path, tracker=tracker))
    settle(WandbTracker(mode="offline"))
    (run,) = read_back(outcome.folder)
    assert json.loads(run.summary[RECORD])["machine"]
    assert leaks(tmp_path) == []


def test_a_run_whose_process_is_gone_is_closed_as_its_folder_says(folder: Path, read_back: Any) -> None:
    (run,) = read_back(folder / "cut short")
    assert [row["step"] for row in run.rows] == [0, 20, 40]
    assert (run.summary["status"], run.summary["best_accuracy"], run.exit_code) == ("finished", 0.7, 0)


def steps_and_end(runs: list[Any]) -> tuple[list[int], str, int]:
    """Of all offline runs of one id together."""
    return [row["step"] for run in runs for row in run.rows], runs[-1].summary["status"], runs[-1].exit_code


def test_a_row_that_is_evaluated_again_after_a_kill_is_mirrored_once(
    tmp_path: Path, read_back: Any, settle: Any, example_record: Any
) -> None:
    tracker = WandbTracker(mode="offline")
    record = example_record("again")
    for resumed_at, rows in ((None, ROWS), (20, ROWS[2:])):
        tracker.start(record, tmp_path, resumed_at)
        for row in rows:
            tracker.log(row)
        settle(tracker)
    assert steps_and_end(read_back(tmp_path)) == ([0, 20, 40], "failed", 1)
    tracker.start(record, tmp_path, None)
    tracker.log(ROWS[0])
    settle(tracker)
    assert steps_and_end(read_back(tmp_path)) == ([0], "failed", 1)  # from its beginning it replaces what was there


KILLED = """
import contextlib, os, signal, sys, time
from pathlib import Path
from tightfit.records.record import RunRecord
from tightfit.tracking.courier import courier_to
from tightfit.tracking.offline import read_mirrored
from tightfit.tracking.wandb import MODULE, WandbTracker

names = {part: {"name": part} for part in ("optimizer", "model", "dataset", "memory_budget")}
tracker = WandbTracker(mode="offline")
tracker.start(RunRecord("killed", "scratch", {**names, "seed": 0, "profile": "smoke"}), Path(sys.argv[1]), None)
folder, mirrored, step = Path(sys.argv[1]), set(), 0
while len(mirrored) < 2:
    time.sleep(0.05)
    tracker.log({"step": step, "train_seconds": time.monotonic()})
    step += 1
    with contextlib.suppress(ValueError):  # a file that is empty so far
        mirrored = read_mirrored(folder, "killed").steps
print(step, flush=True)
if sys.argv[2] == "everything":
    child = courier_to(MODULE, tracker.finish_seconds, os.getpid())._child.pid
    os.killpg(child, signal.SIGKILL)  # wandb-core then ends without flushing
os.kill(os.getpid(), signal.SIGKILL)
"""


def run_killed(folder: Path, what: str) -> int:
    """The rows that the run had logged when it was killed."""
    command = [sys.executable, "-c", KILLED, str(folder), what]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert killed.returncode == -signal.SIGKILL
    return int(killed.stdout)


def test_when_every_process_is_killed_the_last_rows_are_lost_until_the_mirror_is_completed(
    tmp_path: Path, read_back: Any, settle: Any, example_record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = run_killed(tmp_path, "everything")
    (run,) = read_back(tmp_path)
    assert run.exit_code is None
    assert [row["step"] for row in run.rows] == [*range(len(run.rows))]
    assert 0 < len(run.rows) <= rows

    record = example_record("killed")
    record.status = "finished"
    for row in [{"step": step, "train_seconds": float(step)} for step in range(rows)]:
        append_eval(tmp_path, row)
    tracker = WandbTracker(mode="offline")
    tracker.complete(record, tmp_path)
    settle(tracker)
    assert steps_and_end(read_back(tmp_path)) == ([*range(rows)], "finished", 0)
    (tmp_path / "wandb" / "mirrored.json").unlink()
    tracker.complete(record, tmp_path)  # which looks into the files
    settle(tracker)
    monkeypatch.setattr(subprocess, "Popen", None)
    tracker.complete(record, tmp_path)  # which need not
    assert len(read_back(tmp_path)) == 2


def test_when_the_training_process_alone_is_killed_no_row_is_lost(tmp_path: Path, read_back: Any) -> None:
    rows = run_killed(tmp_path, "training")
    (run,) = read_back(tmp_path)
    for _ in range(100):  # the mirror ends the run by itself
        if run.exit_code is not None:
            break
        time.sleep(0.1)
        (run,) = read_back(tmp_path)
    assert (len(run.rows), run.exit_code, run.summary["status"]) == (rows, 1, "failed")
