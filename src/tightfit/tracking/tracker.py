"""What a run tells the outside while it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from tightfit.records.record import RunRecord

ArtifactKind = Literal["table", "figure"]


class Tracker(Protocol):
    """Mirrors runs. No method raises or waits because the other side is slow, missing or broken."""

    def start(self, record: RunRecord, folder: Path, resumed_at: int | None) -> None:
        """Open the run of `record`, or continue it after step `resumed_at`; files of the tracker go into `folder`."""

    def log(self, row: Mapping[str, Any]) -> None:
        """Mirror one evaluation row of the run that was started last."""

    def finish(self, record: RunRecord) -> None:
        """Close the run with its summary, status and reason; nothing happens when it was never started."""

    def complete(self, record: RunRecord, folder: Path) -> None:
        """Add what the mirror of the ended run in `folder` lacks, where one was begun and then cut short."""

    def log_artifacts(self, name: str, files: Sequence[Path], kind: ArtifactKind, folder: Path) -> None:
        """Keep `files`, the parts of one table or figure, under `name`; files of the tracker go into `folder`."""
