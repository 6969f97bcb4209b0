"""Runs as W&B holds them, in the files of offline runs or on its server: of each its record and its evaluations.

Both hold what `description.py` has them told, so that both give what the run's own folder gives.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tightfit.records.record import FINAL, KILLED, RunRecord, damage
from tightfit.tracking.description import RECORD
from tightfit.tracking.mode import login
from tightfit.tracking.offline import log_records, values_of

REPORT = "report"  # the job type of what holds tables and figures, and is no run
WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}  # for numbers that JSON does not have
MISSING = {"train_loss": None}  # of a row, where it is unknown: a mirror is told no None
PER_PAGE = 200  # runs that the server sends at once
STEPS_AT_ONCE = 10_000  # of a history, however few of them have a row
Rows = list[dict[str, Any]]
Found = tuple[str, Callable[[], tuple[RunRecord, Rows]]]


@dataclass
class Held:
    """What W&B holds of a run: its record as text, and its rows by their steps, of which the last told counts."""

    record: str | None = None
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)

    def add(self, step: int, row: Mapping[str, Any]) -> None:
        known = {name: number(value) for name, value in row.items() if not name.startswith("_")}
        self.rows[step] = {**MISSING, "step": step, **known}

    def read(self, is_over: bool) -> tuple[RunRecord, Rows]:
        """The record and the evaluations, in the order of their steps; is_over: whether the run makes no more of them.

        Raises ValueError where W&B was not told the record, and where it lacks evaluations that the ended run had made.
        """
        if self.record is None:
            raise ValueError("W&B holds no record of it; only runs mirrored by tightfit since it tells them have one")
        content = json.loads(self.record)
        if wrong := damage(content):
            raise ValueError(f"its record is damaged ({wrong})")
        record = RunRecord(**content)
        if record.status == "running" and is_over:
            record.status, record.reason = "failed", KILLED
        rows = [self.rows[step] for step in sorted(self.rows)]
        made = record.evaluations.get("rows", len(rows))
        if record.status in FINAL and made != len(rows):
            raise ValueError(f"W&B holds {len(rows)} of the {made} evaluations that it had made; run it again")
        return record, rows


def number(value: Any) -> Any:
    return WORDS.get(value, value) if isinstance(value, str) else value


def from_files(folder: Path) -> Iterator[Found]:
    """The runs in the files of offline runs in `folder`, at whatever depth; several files of a run are one run."""
    logs: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("**/*.wandb"), key=lambda path: (path.parent.name, path)):  # by when they began
        logs.setdefault(path.stem.removeprefix("run-"), []).append(path)
    for id, paths in logs.items():
        if not all(is_report(path) for path in paths):
            yield f"{paths[-1]} ({id})", partial(read_files, paths)


def is_report(path: Path) -> bool:
    """Whether the file holds tables and figures; one that cannot be read is a run, and is told of where it is read."""
    try:
        first = next((record.run for record in log_records(path) if record.HasField("run")), None)
    except ValueError:
        return False
    return first is not None and first.job_type == REPORT


def read_files(paths: Sequence[Path]) -> tuple[RunRecord, Rows]:
    """The run in the files `paths`, the earliest first; of one that was cut all that was whole before the cut."""
    held = Held()
    for path in paths:
        for record in log_records(path):
            if record.HasField("history"):
                held.add(record.history.step.num, values_of(record.history.item))
            if record.HasField("summary"):
                held.record = values_of(record.summary.update).get(RECORD, held.record)
    return held.read(is_over=True)  # a file that does not say so was cut, or nothing is known of its process


def from_server(project: str, environment: Mapping[str, str] = os.environ) -> Iterator[Found]:
    """The runs of `project`, or `entity/project`, on the W&B server that wandb is logged in to.

    Raises ValueError for what names no project, for one that is not there, and where nobody is logged in.
    """
    said = f"runs=wandb:{project}"
    if not all(project.split("/")) or project.count("/") > 1:
        raise ValueError(f"{said} names no project; write runs=wandb:ENTITY/PROJECT, or wandb:PROJECT of your own")
    host, how = login(environment)
    if not how:
        raise ValueError(f"{said} is on {host}, to which nobody is logged in; log in by `wandb login`")
    import wandb

    try:
        for run in wandb.Api().runs(project, per_page=PER_PAGE, lazy=False):
            if run.job_type != REPORT:
                yield f"run {run.id} of {said}", partial(read_run_of_server, run)
    except (wandb.Error, ValueError, OSError) as error:
        told = " ".join(str(error).split())
        raise ValueError(f"{said} cannot be read from {host} ({told}); name a project that you may read") from error


def read_run_of_server(run: Any) -> tuple[RunRecord, Rows]:
    """What the server holds of `run`, a run of `wandb.Api`. Raises ValueError where it does not answer."""
    import wandb

    held = Held(run.summary_metrics.get(RECORD))
    try:  # all rows: `history` samples them, and asking for keys drops rows that lack one
        for row in run.scan_history(page_size=STEPS_AT_ONCE):
            held.add(row["_step"], row)
    except wandb.Error as error:
        raise ValueError(f"its rows cannot be read ({error}); try again") from error
    return held.read(is_over=run.state != "running")
