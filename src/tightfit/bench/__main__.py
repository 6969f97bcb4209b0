"""What a step costs on this machine, in parts: `tightfit bench part=language`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from tightfit.commands import DONE, carry_out, forward
from tightfit.commands.verbs import BENCH
from tightfit.commands.words import Said, WrongWords, nearest, unknown

TAKES = {
    "targets": ("csv",),
    "shelf": ("csv",),
    "steps": (),
    "load": ("csv",),
    "overhead": ("csv",),
    "page": ("csv",),
    "language": ("full", "only", "threads", "csv"),
    "programs": ("full", "only", "rounds", "csv"),
}


def main(words: Sequence[str]) -> int:
    return carry_out(BENCH, words, bench)


def bench(said: Said) -> int:
    """Measure the part that was said; the exit code."""
    settings = dict(said.settings)
    part = settings.pop("part")
    if part not in TAKES:
        raise WrongWords(f"part={part} is no part of bench; {nearest(part, TAKES, 'part=')}choose {', '.join(TAKES)}")
    for name, value in settings.items():
        if value and name not in TAKES[part]:
            raise WrongWords(unknown(f"bench part={part}", name, TAKES[part]))
    importlib.import_module(f"tightfit.bench.{part}").measure_all(**{name: settings[name] for name in TAKES[part]})
    return DONE


if __name__ == "__main__":
    forward("bench")
