"""What a sweep costs beside its training: `tightfit bench part=overhead`, on small runs of MNIST.

Aims: at most 1.5 seconds a run beyond its training on the basic launcher, after the first; a sweep of 200 runs keeps
the cores busy for 85 % of its time. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tightfit.bench.evidence import append
from tightfit.records.record import read_run

SWEEPS = {"basic": 20, "all_cores": 200}  # runs, by launcher
WORDS = ("-m", "profile=smoke", "dataset=mnist", "optimizer=mezo", "tracker=local")


@dataclass(frozen=True)
class Swept:
    """A sweep as it was seen from outside."""

    launcher: str
    runs: int
    wall_seconds: float
    cpu_seconds: float  # of all its processes
    beyond_training: tuple[float, ...]  # seconds from the end of a run to that of the next, without its training

    @property
    def busy(self) -> float:
        """The part of the time for which the cores were at work."""
        return self.cpu_seconds / (self.wall_seconds * len(os.sched_getaffinity(0)))

    def row(self) -> dict[str, Any]:
        one_by_one = self.launcher == "basic"
        return {
            "launcher": self.launcher,
            "runs": self.runs,
            "wall_seconds": round(self.wall_seconds, 2),
            "cpu_seconds": round(self.cpu_seconds, 2),
            "busy": round(self.busy, 4),
            "beyond_training_median": round(statistics.median(self.beyond_training), 3) if one_by_one else "",
            "beyond_training_most": round(max(self.beyond_training), 3) if one_by_one else "",
        }


def measure_all(csv: str | None) -> None:
    """Show, and append to the file `csv`, what each sweep took."""
    rows = [swept(launcher, runs).row() for launcher, runs in SWEEPS.items()]
    table = Table("launcher", "runs", "wall (s)", "processor (s)", "busy", "a run beyond training (s)", "at most (s)")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
    append(csv, rows)


def swept(launcher: str, runs: int) -> Swept:
    """Make a sweep over `runs` seeds. Raises RuntimeError with its last words when one fails."""
    with tempfile.TemporaryDirectory() as place:
        words = [*WORDS, f"seed=range({runs})", f"hydra/launcher={launcher}", f"paths.runs={place}"]
        before, began = cpu_of_children(), time.perf_counter()
        command = [sys.executable, "-m", "tightfit", "run", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wall, cpu = time.perf_counter() - began, cpu_of_children() - before
        if done.returncode:
            raise RuntimeError(f"the sweep failed: {done.stderr[-500:]}")
        return Swept(launcher, runs, wall, cpu, tuple(beyond_training(Path(place))))


def beyond_training(place: Path) -> list[float]:
    """Of runs made one after another, all but the first: a record is written last when its run ends."""
    ended = sorted((path.stat().st_mtime, path.parent) for path in place.rglob("run.json"))
    return [end - before - trained_seconds(folder) for (before, _), (end, folder) in pairwise(ended)]


def trained_seconds(folder: Path) -> float:
    record = read_run(folder)
    assert record is not None
    return record.summary["train_seconds"]


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
