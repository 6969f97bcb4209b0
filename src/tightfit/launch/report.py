"""`tightfit report`: reads its words and lets analysis make the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tightfit.commands import DONE, carry_out
from tightfit.commands.verbs import REPORT
from tightfit.launch.source import read_from
from tightfit.records.places import analysis
from tightfit.settings import Said


def main(words: Sequence[str]) -> int:
    """Make the report that `words` ask for; the exit code."""
    return carry_out(REPORT, words, report, (ValueError, OSError))


def report(said: Said) -> int:
    words = said.settings
    own = None if words["runs"] is None else read_from(words["runs"])
    made = analysis("report").make(Path(words["out"]), own, words["group"], words["x"], words["facet"])
    print(f"{made.resolve().as_uri()}")
    return DONE
