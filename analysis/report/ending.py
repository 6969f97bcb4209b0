"""The table in which a sweep ends: what differs between its runs, what each combination reached, and what it held."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..load import load_folders
from ..render.terminal import terminal
from . import answer, own


def ending(folders: Sequence[Path]) -> str:
    """The answer of the runs in `folders`, in text."""
    study = own.study_of(load_folders(folders), "optimizer", "train_seconds", "memory_budget")
    place = folders[0].parent
    further = f"tightfit ls runs={place} lists them; tightfit report runs={place} draws their curves and fronts."
    return f"{terminal(answer.page(study))}\n{further}"
