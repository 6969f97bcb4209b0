"""`tightfit ls`: reads its words and lets analysis list the runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tightfit.commands import DONE, carry_out
from tightfit.commands.verbs import LS
from tightfit.records.places import analysis
from tightfit.settings import Said


def main(words: Sequence[str]) -> int:
    """List the runs that `words` name; the exit code."""
    return carry_out(LS, words, ls, (ValueError, OSError))


def ls(said: Said) -> int:
    folder = said.settings["runs"] or os.environ.get("TIGHTFIT_RUNS", "runs")
    print(analysis("index").index(Path(folder)))
    return DONE
