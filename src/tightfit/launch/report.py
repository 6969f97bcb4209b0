"""`tightfit report`: reads its words and lets analysis make the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tightfit.commands import DONE, carry_out
from tightfit.commands.verbs import REPORT
from tightfit.commands.words import Said
from tightfit.launch.source import read_from
from tightfit.records.places import analysis


def main(words: Sequence[str]) -> int:
    """Make the report that `words` ask for; the exit code."""
    return carry_out(REPORT, words, report, (ValueError, OSError))


def report(said: Said) -> int:
    words = said.settings
    own = None if words["runs"] is None else read_from(words["runs"])
    if words["map"] is not None and own is None:
        raise ValueError(f"map={words['map']} is of your own runs; name them by runs=…")
    view = (words["group"], words["x"], words["facet"])
    made = analysis("report").make(Path(words["out"]), own, *view, words["map"])
    if words["map"] is not None:
        print(analysis("report.own").map_in_words(own, *view, words["map"]))
    print(f"{made.resolve().as_uri()}")
    return DONE
