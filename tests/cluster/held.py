"""A tracker that holds a run in its middle, so that a test can disturb it there however fast or slow the machine is."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tightfit.run.interruption import Interruption
from tightfit.tracking.local import LocalOnly


class Held(LocalOnly):
    """Holds the first session that comes to step `at` until its process is told to stop, or is killed.

    `marker`: a file that then holds the number of the process. Where it is already there, no session is held. Trackers
    are told before a checkpoint is saved, so a process that is killed here loses the steps since the last evaluation.
    """

    def __init__(self, marker: str, at: int) -> None:
        self.marker, self.at = Path(marker), at

    def log(self, row: Mapping[str, Any]) -> None:
        if row["step"] < self.at or self.marker.exists():
            return
        unfinished = self.marker.with_suffix(".tmp")
        unfinished.write_text(str(os.getpid()))
        unfinished.rename(self.marker)
        while not Interruption.process_is_stopping:
            time.sleep(0.05)
