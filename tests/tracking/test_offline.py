"""What an offline run leaves, read back from its transaction log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

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
def folder(tmp_path_factory: Any, example_record: Any, settle: Any) -> Path:
    """A finished run with a table and a figure, and one that went on after step 20, all in one process."""
    folder: Path = tmp_path_factory.mktemp("tracked")
    tracker = WandbTracker(mode="offline")
    record = example_record("finished")
    tracker.start(record, folder / "finished", None)
    for row in ROWS:
        tracker.log(row)
    record.status, record.summary = "finished", {"best_accuracy": 0.7, "final_accuracy": 0.6, "peak_bytes": 2_000_000}
    tracker.finish(record)

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


def test_everything_stays_in_the_run_folder(folder: Path) -> None:
    assert {path.name for path in (folder / "finished").iterdir()} == {"wandb"}
    assert list((folder / "report" / "wandb" / "artifacts" / "staging").iterdir())


KILLED = """
import os, signal, sys, time
from pathlib import Path
from tightfit.records import RunRecord
from tightfit.tracking.courier import courier_to
from tightfit.tracking.wandb import MODULE, WandbTracker

names = {part: {"name": part} for part in ("optimizer", "model", "dataset", "memory_budget")}
tracker = WandbTracker(mode="offline")
tracker.start(RunRecord("killed", "scratch", {**names, "seed": 0, "profile": "smoke"}), Path(sys.argv[1]), None)
log, first, step = Path(sys.argv[1]) / "wandb", None, 0
while first is None or time.monotonic() - first < 2.2:
    time.sleep(0.05)
    tracker.log({"step": step, "train_seconds": time.monotonic()})
    step += 1
    if first is None and list(log.glob("offline-run-*/*.wandb")):
        first = time.monotonic()
print(time.monotonic(), flush=True)
print(step, flush=True)
if sys.argv[2] == "everything":
    child = courier_to(MODULE, tracker.finish_seconds, os.getpid())._child.pid
    os.killpg(child, signal.SIGKILL)  # wandb-core then ends without flushing
os.kill(os.getpid(), signal.SIGKILL)
"""


def run_killed(folder: Path, what: str) -> tuple[float, int]:
    """When the run was killed, in its own clock, and the rows it had logged."""
    command = [sys.executable, "-c", KILLED, str(folder), what]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert killed.returncode == -signal.SIGKILL
    seconds, rows = killed.stdout.split()
    return float(seconds), int(rows)


def test_when_every_process_is_killed_the_rows_of_the_last_second_at_most_are_lost(
    tmp_path: Path, read_back: Any
) -> None:
    killed_at, _ = run_killed(tmp_path, "everything")
    (run,) = read_back(tmp_path)
    assert run.exit_code is None
    # One second between flushes, and half a second for a busy machine to do them in.
    assert killed_at - run.rows[-1]["train_seconds"] < 1.5


def test_when_the_training_process_alone_is_killed_no_row_is_lost(tmp_path: Path, read_back: Any) -> None:
    _, rows = run_killed(tmp_path, "training")
    (run,) = read_back(tmp_path)
    for _ in range(100):  # the mirror ends the run by itself
        if run.exit_code is not None:
            break
        time.sleep(0.1)
        (run,) = read_back(tmp_path)
    assert (len(run.rows), run.exit_code, run.summary["status"]) == (rows, 1, "running")
