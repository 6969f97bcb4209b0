"""W&B missing, broken or slow: runs go on, and one line says so. A stand-in takes wandb's place on the import path."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tightfit.tracking.courier import Courier, courier_to
from tightfit.tracking.local import LocalOnly
from tightfit.tracking.wandb import MODULE, WandbTracker

MISSING = "raise ModuleNotFoundError(\"No module named 'wandb'\")"
BROKEN = """
Settings = dict
def init(**options):
    raise RuntimeError("the disk\\nis full")
"""
HANGING = """
import time
Settings = dict
def init(**options):
    time.sleep(600)
"""
UNREACHABLE = """
import pathlib
from unittest.mock import MagicMock
Settings = dict
attempts, in_use = [], set()
def init(mode, dir, id, **options):
    if id in in_use:
        raise ValueError(f"run ID {id} is in use")
    in_use.add(id)
    attempts.append(mode)
    (pathlib.Path(dir) / "attempts").write_text(" ".join(attempts))
    if mode == "online":
        raise ConnectionError("no answer from the server")
    return MagicMock()
def teardown():
    in_use.clear()
"""


@pytest.fixture
def wandb_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts a module with the given source in wandb's place, for processes started from now on."""

    def replace(source: str) -> None:
        (tmp_path / "stand-in").mkdir()
        (tmp_path / "stand-in" / "wandb.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path / "stand-in")

    courier_to.cache_clear()
    yield replace
    courier_to.cache_clear()


@pytest.fixture
def run_once(tmp_path: Path, example_record: Any) -> Callable[[WandbTracker, str], None]:
    """A short run under the given key."""

    def run(tracker: WandbTracker, key: str) -> None:
        record = example_record(key)
        tracker.start(record, tmp_path / key, None)
        tracker.log({"step": 0, "train_seconds": 0.0})
        record.status = "finished"
        tracker.finish(record)

    return run


@pytest.mark.parametrize(
    ("source", "warning"),
    [
        (
            MISSING,
            "W&B is off (No module named 'wandb'), run folders are kept: pip install wandb, or choose tracker=local",
        ),
        (BROKEN, "W&B is off for this run, its folder is kept: RuntimeError: the disk is full"),
    ],
    ids=["missing", "broken"],
)
def test_missing_or_broken_wandb_costs_one_line_of_warning(
    source: str, warning: str, wandb_is: Any, run_once: Any, settle: Any, caplog: pytest.LogCaptureFixture
) -> None:
    wandb_is(source)
    tracker = WandbTracker(mode="offline")
    run_once(tracker, "first")
    run_once(tracker, "second")
    settle(tracker)
    assert caplog.messages == [warning]


def test_hanging_wandb_is_left_behind_and_ends_by_itself(
    wandb_is: Any, run_once: Any, caplog: pytest.LogCaptureFixture
) -> None:
    wandb_is(HANGING)
    tracker = WandbTracker(mode="offline", finish_seconds=0.2)
    run_once(tracker, "first")
    courier = courier_to(MODULE, 0.2, os.getpid())
    child = courier._child
    assert child is not None
    courier.close()
    expected = (
        "tightfit.tracking.wandb has not ended after 0.2 s; the run folders are complete, their mirror may not be"
    )
    assert caplog.messages == [expected]
    assert child.wait(60) == -signal.SIGALRM


def test_a_full_pipe_never_blocks(wandb_is: Any, example_record: Any, tmp_path: Path) -> None:
    """The child is stopped, so nothing is read from a pipe that holds far less than this."""
    wandb_is(HANGING)
    tracker = WandbTracker(mode="offline", finish_seconds=0.01)
    tracker.start(example_record("first"), tmp_path, None)
    courier = courier_to(MODULE, 0.01, os.getpid())
    child = courier._child
    assert child is not None
    child.send_signal(signal.SIGSTOP)
    for step in range(50):
        tracker.log({"step": step, "note": "x" * 100_000})
    assert len(courier._unsent) > 4_000_000
    courier.close()
    child.kill()
    child.wait()


def test_a_dead_server_is_tried_once_and_runs_are_kept_offline(
    wandb_is: Any, run_once: Any, settle: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wandb_is(UNREACHABLE)
    tracker = WandbTracker(mode="online")
    run_once(tracker, "first")
    run_once(tracker, "second")
    settle(tracker)
    assert (tmp_path / "second" / "attempts").read_text() == "online offline offline"
    error = "ConnectionError: no answer from the server"
    assert caplog.messages == [f"W&B keeps runs offline, for a later `wandb sync` of their folders: {error}"]


def test_a_killed_mirror_does_not_stop_the_run(wandb_is: Any, run_once: Any, caplog: pytest.LogCaptureFixture) -> None:
    wandb_is(HANGING)
    tracker = WandbTracker(mode="offline")
    run_once(tracker, "first")
    courier = courier_to(MODULE, tracker.finish_seconds, os.getpid())
    assert courier._child is not None
    courier._child.kill()
    courier._child.wait()
    run_once(tracker, "second")
    courier.close()
    expected = "tightfit.tracking.wandb was killed; the run folders are complete, their mirror is not"
    assert caplog.messages == [expected]


def test_what_a_full_pipe_held_back_is_delivered_at_the_end(wandb_is: Any, run_once: Any, tmp_path: Path) -> None:
    wandb_is(UNREACHABLE)
    tracker = WandbTracker(mode="offline")
    tracker.log({"step": 0, "note": "x" * 10_000_000})
    run_once(tracker, "first")
    courier_to(MODULE, tracker.finish_seconds, os.getpid()).close()
    assert (tmp_path / "first" / "attempts").read_text() == "offline"


def test_no_process_for_the_mirror_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    Courier(MODULE, 1.0).send({})
    (line,) = caplog.messages
    assert line.startswith("tightfit.tracking.wandb is off: its process cannot be started")


def test_a_run_that_never_started_is_not_mirrored(monkeypatch: pytest.MonkeyPatch, example_record: Any) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    WandbTracker(mode="offline").finish(example_record("never"))


@pytest.mark.parametrize("tracker", [WandbTracker(mode="disabled"), LocalOnly()], ids=["disabled", "local"])
def test_disabled_and_local_start_no_process_and_leave_nothing(
    tracker: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, example_record: Any
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    record = example_record("quiet")
    tracker.start(record, tmp_path, None)
    tracker.log({"step": 0})
    tracker.finish(record)
    tracker.log_artifacts("table1", [], "table", tmp_path)
    assert not list(tmp_path.iterdir())
