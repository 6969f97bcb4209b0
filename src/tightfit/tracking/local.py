"""No mirror: the run folder is enough."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tightfit.records import RunRecord


class LocalOnly:
    """A tracker that does nothing."""

    def start(self, record: RunRecord, folder: Path, resumed_at: int | None) -> None:
        pass

    def log(self, row: Mapping[str, Any]) -> None:
        pass

    def finish(self, record: RunRecord) -> None:
        pass
