"""A mirror of runs in Weights & Biases, online or offline.

`WandbTracker` describes runs and sends them to a child process, one per training process (`courier.py` says why).
The child is this module run as a program; it alone imports wandb, and answers a line of warning when something fails.
"""

from __future__ import annotations

import csv
import functools
import json
import os
import queue
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from tightfit.records.record import KILLED, RunRecord, read_evals, read_run, write_atomically
from tightfit.tracking.courier import courier_to
from tightfit.tracking.description import MARK, RECORD, description, end, read_mark, told
from tightfit.tracking.mode import Mode, resolve_mode
from tightfit.tracking.offline import read_mirrored
from tightfit.tracking.tracker import ArtifactKind

MODULE = "tightfit.tracking.wandb"
INIT_SECONDS = 8.0  # wandb tries for about twice as long; then the run is kept offline
FLUSH_SECONDS = 1.0  # the most that is lost of an offline run when this process and the child are killed together


@dataclass
class WandbTracker:
    """Mirrors runs to W&B from a child process; training goes on whatever happens there.

    project, entity: where runs go; entity None is the account's default.
    mode: auto, online, offline or disabled, see `resolve_mode`.
    finish_seconds: the most that the end of this process waits for W&B, which then has as long again on its own.
    """

    project: str = "tightfit"
    mode: str = "auto"
    entity: str | None = None
    finish_seconds: float = 30.0

    def __post_init__(self) -> None:
        self._mode, why = resolve_mode(self.mode, os.environ)
        if why:
            say_mode(self._mode, why)
        self._key: str | None = None

    def start(self, record: RunRecord, folder: Path, resumed_at: int | None) -> None:
        self._key = record.key
        resume = None if resumed_at is None else "allow"
        self._send("start", folder, id=record.key, resume=resume, **description(record))
        for row in read_evals(folder) if resume else ():  # a kill may have kept some from the mirror
            self.log(row)

    def log(self, row: Mapping[str, Any]) -> None:
        self._send("log", id=self._key, **told(row))

    def finish(self, record: RunRecord) -> None:
        if self._key is not None:
            self._send("finish", id=self._key, **end(record))
            self._key = None

    def complete(self, record: RunRecord, folder: Path) -> None:
        if not any(folder.glob("wandb/*run-*")) or read_mark(folder) == end(record)["mark"]:
            return
        rows = [told(row) for row in read_evals(folder)]
        self._send("complete", folder, id=record.key, rows=rows, end=end(record), **description(record))

    def log_artifacts(self, name: str, files: Sequence[Path], kind: ArtifactKind, folder: Path) -> None:
        self._send("report", folder, name=name, kind=kind, files=[str(file.absolute()) for file in files])

    def _send(self, action: str, folder: Path | None = None, **arguments: Any) -> None:
        if self._mode == "disabled":
            return
        if folder is not None:
            arguments |= {"dir": str(folder.absolute()), "project": self.project, "entity": self.entity}
            arguments |= {"mode": self._mode}
        courier_to(MODULE, self.finish_seconds, os.getpid()).send({"action": action, "arguments": arguments})


@functools.cache  # once, however many runs a process makes
def say_mode(mode: Mode, why: str) -> None:
    print(f"W&B {mode}: {why}", flush=True)


@dataclass
class OpenRun:
    """A run that W&B is being told of: its folder, and the steps whose rows need not be told again."""

    run: Any
    folder: Path
    steps: set[int]


class Mirror:
    """In the child: carries out messages with wandb. What fails becomes one call of `warn`; nothing is raised."""

    def __init__(self, warn: Callable[[str], None], finish_seconds: float) -> None:
        self.warn, self.finish_seconds = warn, finish_seconds
        self.runs: dict[str, OpenRun] = {}
        self.reachable = True  # until a first attempt fails: a sweep does not wait for a dead server twice

    def carry_out(self, action: str, arguments: dict[str, Any]) -> None:
        """Call the method `action`: start, log, finish, complete, abandon or report."""
        try:
            getattr(self, action)(**arguments)
        except ImportError as error:
            self.warn(f"W&B is off ({error}), run folders are kept: pip install wandb, or choose tracker=local")
        except Exception as error:  # whatever W&B raises, a run is never stopped by its mirror
            self.runs.pop(arguments.get("id", ""), None)
            self.warn(f"W&B is off for this run, its folder is kept: {one_line(error)}")

    def start(self, id: str, dir: str, resume: str | None, record: str, **description: Any) -> None:
        """Open the run, or go on with it: rows that its offline files hold are then not told again.

        A server leaves out steps that it has by itself. A run that starts from its beginning replaces what was told of
        it, as it replaces its rows.
        """
        for abandoned in Path(dir).glob(f"wandb/offline-run-*-{id}") if resume is None else ():
            shutil.rmtree(abandoned, ignore_errors=True)
        run = self.open(id=id, dir=dir, resume=resume, **description)
        steps = read_mirrored(Path(dir), id).steps if resume and run.offline else set()
        self.runs[id] = OpenRun(run, Path(dir), steps)
        run.define_metric("train_seconds")
        run.define_metric("*", step_metric="train_seconds")  # without summary=…, which would replace the last value
        run.summary.update({"status": "running", RECORD: record})

    def log(self, id: str, row: dict[str, Any], step: int) -> None:
        if id in self.runs and step not in self.runs[id].steps:
            self.runs[id].steps.add(step)
            self.runs[id].run.log(row, step=step)

    def finish(self, id: str, summary: dict[str, Any], exit_code: int, mark: dict[str, str]) -> None:
        if id in self.runs:
            ended = self.runs.pop(id)
            ended.run.summary.update(summary)
            ended.run.finish(exit_code=exit_code)
            self.note(ended.folder, mark)

    def complete(self, id: str, dir: str, rows: list[dict[str, Any]], end: dict[str, Any], **description: Any) -> None:
        """Tell the rows and the end of a run of which W&B knows a part, unless its offline files hold them all."""
        there = read_mirrored(Path(dir), id)
        if there.status != end["summary"]["status"] or not there.steps.issuperset(row["step"] for row in rows):
            self.start(id, dir, "allow", **description)
            for row in rows:
                self.log(id, **row)
            self.finish(id, **end)
        else:
            self.note(Path(dir), end["mark"])

    def note(self, folder: Path, mark: dict[str, str]) -> None:
        write_atomically(folder / MARK, json.dumps(mark).encode() + b"\n")

    def abandon(self, id: str) -> None:
        """Close a run whose training process is gone, by what is in its folder."""
        folder = self.runs[id].folder
        record = read_run(folder) or RunRecord(id, "", {})
        if record.status == "running":
            record.status, record.reason = "failed", KILLED
        for row in read_evals(folder):
            self.log(id, **told(row))
        self.finish(id, **end(record))

    def report(self, name: str, kind: str, files: list[str], **place: Any) -> None:
        """A run of its own that holds `files` as an artifact, and as pictures and tables to look at."""
        import wandb

        with self.open(name=name, group=name, job_type="report", **place) as run:
            artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", name), type=kind)
            for file in map(Path, files):
                artifact.add_file(str(file))
                if file.suffix == ".png":
                    run.log({file.stem: wandb.Image(str(file))})
                elif file.suffix == ".csv":
                    header, *rows = csv.reader(file.read_text().splitlines())
                    cells: list[Any] = [[number_or_text(cell) for cell in row] for row in rows]
                    run.log({file.stem: wandb.Table(columns=[*header], data=cells, allow_mixed_types=True)})
            run.log_artifact(artifact)

    def close(self) -> None:
        """End the runs that nobody ended: their training process is gone."""
        for id in list(self.runs):
            self.carry_out("abandon", {"id": id})

    def open(self, dir: str, mode: Mode, **options: Any) -> Any:
        """A W&B run with all its files in `dir`; offline where the server cannot be reached."""
        import wandb

        place = Path(dir) / "wandb"
        place.mkdir(parents=True, exist_ok=True)
        os.environ |= {"WANDB_DATA_DIR": str(place), "WANDB_CACHE_DIR": str(place / "cache")}
        settings = wandb.Settings(
            console="off",
            silent=True,
            x_disable_stats=True,
            x_transaction_log_flush_interval=FLUSH_SECONDS,
            init_timeout=INIT_SECONDS,
            finish_timeout=self.finish_seconds,
            finish_timeout_raises=True,
        )
        attempt: dict[str, Any] = {"dir": dir, "settings": settings, "reinit": "create_new", **options}
        if mode == "online" and self.reachable:
            try:
                return wandb.init(mode="online", **attempt)
            except Exception as error:
                self.reachable = False
                wandb.teardown()  # else the failed attempt holds the id, and the next is refused as "in use"
                self.warn(f"W&B keeps runs offline, for a later `wandb sync` of their folders: {one_line(error)}")
        return wandb.init(mode="offline", **attempt)


def number_or_text(cell: str) -> float | str | None:
    """A CSV cell by its content; an empty one is None."""
    with suppress(ValueError):
        return float(cell)
    return cell or None


def one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def messages(source: TextIO, finish_seconds: float) -> Iterator[dict[str, Any]]:
    """The messages in `source`; after the last one this process has `2 * finish_seconds` to end."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:  # in a thread, so that the end of the input is noticed while W&B hangs
        for line in source:
            lines.put(line)
        signal.setitimer(signal.ITIMER_REAL, 2 * finish_seconds)  # its default action ends the process
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while (line := lines.get()) is not None:
        yield json.loads(line)


def main(finish_seconds: float) -> None:
    """Mirror what standard input says until it ends; warnings go to standard output, which wandb gets no hold of."""
    os.nice(10)  # training comes first where cores are short
    source, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(nowhere, standard)

    def warn(line: str) -> None:
        with suppress(BrokenPipeError):  # nobody is left to be warned
            answers.write(line + "\n")

    mirror = Mirror(warn, finish_seconds)
    for message in messages(source, finish_seconds):
        mirror.carry_out(message["action"], message["arguments"])
    mirror.close()


if __name__ == "__main__":
    main(float(sys.argv[1]))
