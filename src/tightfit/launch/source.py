"""Where a user's runs are read from: a folder of runs, the files of offline W&B runs, or a project on W&B."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tightfit.records.places import analysis
from tightfit.tracking.read_back import from_files, from_server

ON_SERVER = "wandb:"  # before the name of a project
MEANING = "a folder of runs or of offline W&B files, or wandb:ENTITY/PROJECT"


def read_from(runs: str) -> Any:
    """The records of `runs`, as analysis has them; one warning for each run that cannot be read.

    A folder in which any run has its own record is one of runs, whatever W&B keeps beside it.
    Raises ValueError where there is no run.
    """
    folder = Path(runs)
    if runs.startswith(ON_SERVER):
        found = from_server(runs.removeprefix(ON_SERVER))
    elif next(folder.glob("**/run.json"), None) is None and next(folder.glob("**/*.wandb"), None) is not None:
        found = from_files(folder)
    else:
        return analysis("report.own").load_own(folder)
    records = analysis("load").load_each(found)
    if not records.full:
        raise ValueError(f"runs={runs} holds no run of tightfit that can be read; name {MEANING}")
    return records
