"""No mirror: the run folder is all there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tightfit.records.record import RunRecord
from tightfit.tracking.tracker import ArtifactKind


class LocalOnly:
    """Does nothing: `run.json` and `evals.jsonl` are written by the run itself."""

    def start(self, record: RunRecord, folder: Path, resumed_at: int | None) -> None:
        pass

    def log(self, row: Mapping[str, Any]) -> None:
        pass

    def finish(self, record: RunRecord) -> None:
        pass

    def complete(self, record: RunRecord, folder: Path) -> None:
        pass

    def log_artifacts(self, name: str, files: Sequence[Path], kind: ArtifactKind, folder: Path) -> None:
        pass
