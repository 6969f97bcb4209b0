"""Where a run is that is named by its folder or by its key."""

from __future__ import annotations

import os
from pathlib import Path

from tightfit.commands.words import WrongWords


def folder_of(run: str, said_by: str = "run") -> Path:
    """The folder of a run that is named by it or by its key, by the word `said_by`.

    Raises WrongWords when the key is that of none, or of several.
    """
    if Path(run).is_dir():
        return Path(run)
    runs = Path(os.environ.get("TIGHTFIT_RUNS", "runs"))
    found = [record.parent for record in runs.rglob("run.json") if record.parent.name == run]
    if len(found) != 1:
        raise WrongWords(
            f"{said_by}={run} is no folder, and {len(found)} runs in {runs} have that key; name the folder"
        )
    return found[0]
