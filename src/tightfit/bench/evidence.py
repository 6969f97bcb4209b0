"""What a recorded measurement carries: the commit, the machine and its load, and the time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from tightfit.commands.words import WrongWords
from tightfit.records.machine import commit, describe_machine, describe_processor
from tightfit.records.record import append_csv


def evidence() -> dict[str, Any]:
    """What stands beside every number that is measured here now."""
    head, dirty = commit()
    return {
        **describe_processor(),
        **describe_machine(torch.device("cpu")),
        "load": round(os.getloadavg()[0], 2),
        "commit": head[:12],
        "dirty": dirty,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def append(csv: str | None, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append `rows` to the file `csv`, each with its evidence; nothing where no file is named.

    Raises WrongWords when that cannot be done, as where the file has other columns.
    """
    if not csv:
        return
    now = evidence()
    try:
        append_csv(Path(csv), [{**row, **now} for row in rows], "a row of the bench")
    except (OSError, ValueError) as error:
        raise WrongWords(f"csv: {error}") from error
