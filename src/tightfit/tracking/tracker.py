"""What a tracker is: a mirror of the run folder somewhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tightfit.records import RunRecord


class Tracker(Protocol):
    """Mirrors one run. None of the calls may raise, or wait for a network."""

    def start(self, record: RunRecord, folder: Path, resumed_at: int | None) -> None: ...

    def log(self, row: Mapping[str, Any]) -> None: ...

    def finish(self, record: RunRecord) -> None: ...
