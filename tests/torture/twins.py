"""Runs that nothing disturbed, and how another compares with them."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.torture.children import Child, making
from tests.torture.injection import Disk, Jumps, Moments, Strike
from tests.torture.methods import METHODS, described
from tightfit.records.record import EVALS, FINAL, LOCK, read_evals, read_run
from tightfit.run.checkpoint import CHECKPOINT, REPLAY_LOG, WEIGHTS
from tightfit.run.keys import run_folder
from tightfit.run.session import carry_out

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Twin:
    """An undisturbed run, what there was to strike at in it, and one like it that was killed halfway."""

    folder: Path
    stopped: Path
    moments: Mapping[str, int]
    disk_operations: int
    clock_readings: int


class Twins:
    """Each is made when it is first asked for."""

    def __init__(self, place: Path) -> None:
        self._place = place
        with (place / "said").open("w") as said, redirect_stdout(said):
            for method in METHODS:  # here, so that forks find imported and cached what runs need
                carry_out(described(method, place / "warm"))
        self._made: dict[tuple[str, int], Twin] = {}

    def of(self, method: str, seed: int = 0) -> Twin:
        if (method, seed) not in self._made:
            self._made[method, seed] = self._make(method, seed)
        return self._made[method, seed]

    def _make(self, method: str, seed: int) -> Twin:
        place = self._place / f"{method} {seed}"
        place.mkdir(parents=True)
        whole, stopped = described(method, place / "whole", seed), described(method, place / "stopped", seed)
        disk = Disk(place / "whole")
        ended = Child(making(whole, [Moments(), disk, Jumps()], place / "counts"), place / "said").join()
        assert ended.code == 0, ended.said
        moments, operations, readings = json.loads((place / "counts").read_text())
        halfway = Strike("training", int(0.7 * moments["training"]), signal.SIGKILL)
        Child(making(stopped, [Moments([halfway])]), place / "said").join()
        assert (run_folder(stopped) / CHECKPOINT).exists()
        return Twin(run_folder(whole), run_folder(stopped), moments, operations, readings)


def differences(folder: Path, twin: Twin, knows_sessions: bool = True) -> str:
    """What of the completed run in `folder` is not as in its twin, in words; empty where nothing is.

    knows_sessions: whether its record was there all the time, so that its sessions add up to its steps.
    """
    ours, theirs = (read_run(place) for place in (folder, twin.folder))
    if ours is None or theirs is None:
        return "there is no record"
    found = [
        *(["status"] if ours.status != theirs.status else []),
        *(["config"] if without_place(ours.config) != without_place(theirs.config) else []),
        *(name for name in ("steps", "weights_sha256", "final_accuracy", "best_accuracy", "final_loss") if
          ours.summary.get(name) != theirs.summary.get(name)),
        *([EVALS] if rows_of(folder) != rows_of(twin.folder) else []),
        *(name for name in (WEIGHTS, REPLAY_LOG) if content(folder / name) != content(twin.folder / name)),
        *(f"left {name}" for name in sorted(names_in(folder) - names_in(twin.folder))),
        *(f"no {name}" for name in sorted(names_in(twin.folder) - names_in(folder))),
    ]  # fmt: skip
    if not knows_sessions:
        return ", ".join(found)
    steps = sum(session.get("to_step", 0) - session.get("from_step", 0) for session in ours.sessions)
    if steps != theirs.summary["steps"]:
        found.append(f"sessions of {steps} steps")
    return ", ".join(found)


def fault_of_remains(folder: Path) -> str:
    """What a fault must not leave behind, in words: no readable record, or a finished run that is begun anew."""
    try:
        record = read_run(folder)
    except ValueError as error:
        return f"unreadable: {error}"
    ended = (folder / WEIGHTS).exists() and not (folder / CHECKPOINT).exists()
    if ended and record is not None and record.status not in FINAL:
        return f"a finished run is on record as {record.status}, and its checkpoint is gone"
    return ""


def without_place(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "paths"}


def rows_of(folder: Path) -> Rows:
    return [{k: v for k, v in row.items() if not k.endswith("_seconds")} for row in read_evals(folder)]


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {LOCK}
