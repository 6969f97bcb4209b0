"""`tightfit ls`: reads its words and lets analysis list the runs."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tightfit.commands import DONE, carry_out
from tightfit.commands.verbs import LS
from tightfit.commands.words import Said
from tightfit.launch.source import read_from
from tightfit.records.places import analysis


def main(words: Sequence[str]) -> int:
    """List the runs that `words` name; the exit code."""
    return carry_out(LS, words, ls, (ValueError, OSError))


def ls(said: Said) -> int:
    runs = said.settings["runs"] or os.environ.get("TIGHTFIT_RUNS", "runs")
    print(analysis("index").index(read_from(runs), runs))
    return DONE
