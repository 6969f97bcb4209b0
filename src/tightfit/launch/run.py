"""`tightfit run`: one run, or a sweep, which ends in a table of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tightfit.commands import DONE, FAILED
from tightfit.launch.reproduce import plan
from tightfit.records.places import analysis
from tightfit.records.record import read_run
from tightfit.run import configuration
from tightfit.run.spellings import in_todays_words

SWEEPS = ("-m", "--multirun")


def main(words: Sequence[str]) -> int:
    """Run what `words` describe; the exit code."""
    code = configuration.main(words)
    if code in (DONE, FAILED) and (folders := swept(words)):
        print(f"\n{analysis('report.ending').ending(folders)}")
    return code


def swept(words: Sequence[str]) -> list[Path]:
    """The runs of the sweep of `words` that left a record; none where they are one run, or an experiment, which has
    tables of its own."""
    said = [word for word in words if not word.startswith(("-", "hydra/", "hydra."))]
    told = in_todays_words(said)
    is_sweep = not {*SWEEPS}.isdisjoint(words) or configuration.as_a_sweep(told) != told
    if not is_sweep or any(word.startswith("experiments=") for word in told):
        return []
    try:
        planned = plan(told)
    except ValueError:  # one value was impossible, and the sweep has told so
        return []
    return [run.folder for run in planned if read_run(run.folder) is not None]
