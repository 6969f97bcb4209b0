"""A process's attempt at a run: however it ends, its end is on record, even where the process died."""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tightfit.numerics import CODE_VERSION
from tightfit.records.machine import commit
from tightfit.records.record import FINAL, RunRecord, Status, is_held, read_run, write_run
from tightfit.run.faults import is_expected, reason_of
from tightfit.run.history import begin_session, end_session, now
from tightfit.run.holding import only_process_in
from tightfit.run.keys import run_folder
from tightfit.run.metrics import Score
from tightfit.run.own_code import files_of
from tightfit.run.parts import build
from tightfit.run.progress import Spacing, describe, say, show
from tightfit.tracking.tracker import Tracker


@dataclass(frozen=True)
class Outcome:
    """How a run ended, why, and where its record is."""

    status: Status
    folder: Path
    reason: str = ""


@dataclass
class Attempt:
    """A session of a run, from its beginning to its recorded end."""

    record: RunRecord
    folder: Path
    tracker: Tracker
    label: str
    is_over: bool = False  # as the record says, and not by an error
    spacing: Spacing = field(default_factory=Spacing)  # of lines on evaluations: a short run makes many at once

    @classmethod
    def begun(
        cls, config: Mapping[str, Any], folder: Path, label: str, before: RunRecord | None, command: Sequence[str] = ()
    ) -> Attempt:
        record = RunRecord(key=folder.name, experiment=config["experiment"], config=dict(config), started_at=now())
        record.command, record.code_version = list(command), CODE_VERSION
        record.commit, record.dirty = commit()
        record.own_code = files_of(config)
        record.dataset = before.dataset if before else {}  # known, even if the data cannot be had this time
        begin_session(record, before, folder)
        return cls(record, folder, build(config["tracker"]), label)

    def tell(self, text: str) -> None:
        say(self.label, text)

    def progress(self, done: float, score: Score, seconds: float) -> None:
        if self.spacing.lets_pass(is_last=done >= 1.0):
            show(self.label, done, score, self.record.config["training"].get("metric"), seconds)


@contextmanager
def ends_recorded(attempts: Sequence[Attempt]) -> Generator[None]:
    """However what is done inside ends, that is written in the records of `attempts`; only faults of ours go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        end_all(attempts, "interrupted", str(stop) or "stopped on request; run again to continue")
    except SystemExit:  # by a scheduler's client, once the run is in the queue again
        end_all(attempts, "interrupted", "stopped to be begun again elsewhere")
        raise
    except BaseException as error:
        end_all(attempts, "failed", reason_of(error))
        if not is_expected(error):
            raise
    finally:
        for one in attempts:
            write_end(one.folder, one.record)
            one.tracker.finish(one.record)


def end_all(attempts: Sequence[Attempt], status: Status, reason: str) -> None:
    for one in attempts:
        if not one.is_over:
            one.record.status, one.record.reason = status, reason


def write_end(folder: Path, record: RunRecord) -> None:
    """Write how the run ended, or say why that cannot be written; what was recorded before stays."""
    end_session(record)
    try:
        write_run(folder, record)
    except OSError as error:
        remedy = "free space and run again to continue"
        print(f"cannot write {folder}/run.json ({error.strerror}); {remedy}", file=sys.stderr)


def record_loss(config: Mapping[str, Any], exit_code: int) -> Outcome:
    """Record the run that `config` describes as failed, since its process died with `exit_code`, minus the signal's
    number; one that had ended, or that another process goes on with, stays as it is."""
    folder = run_folder(config)
    died = f"was killed (signal {-exit_code})" if exit_code < 0 else f"ended with exit status {exit_code}"
    perhaps = ", perhaps for memory" if exit_code == -signal.SIGKILL else ""
    reason = f"its process {died}{perhaps}; run again to continue"
    if is_held(folder):
        return Outcome("failed", folder, reason)
    with only_process_in(folder, describe(config)):
        record = read_run(folder)
        if record is None:
            record = RunRecord(key=folder.name, experiment=config["experiment"], config=dict(config), started_at=now())
        if record.status not in FINAL:
            record.status, record.reason = "failed", reason
            write_end(folder, record)
    return Outcome(record.status, folder, record.reason)
