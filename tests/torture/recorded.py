"""The record of a campaign: `python -m tests.torture.recorded build/torture.jsonl … faults.csv`.

It counts what the lines of one campaign or more say, by seed, fault, phase and method. Only signals that came and
faults that happened count as such: a process may have ended before. The page in the folder above is told of it.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tests.torture.faults import BY_SIGNAL
from tightfit.records.machine import commit, describe_machine, describe_processor

OUTCOMES = ("same", "refused", "wrong")
GROUP = ("kind", "phase", "method")
COUNTS = ("faults", "signals", "others", *OUTCOMES)
ON_PAGE = re.compile(r"^Seeds? .*:\n\n\| what happens [\s\S]*?^\| all \|.*$", re.MULTILINE)
TOLD = {
    "kill": "a signal at any call of any phase",
    "kill twice": "another one in the session that goes on",
    "insist": "a second signal soon after the first",
    "clock": "a jump of the clock by an hour to 50 years, then a kill",
    "two processes": "two at one run, one of which is killed",
    "sweep": "a worker of a sweep is killed",
    "disk": "a write, open, fsync, rename or deletion fails once (ENOSPC, EIO)",
    "full disk": "all of them fail from some moment on",
    "damage stopped": "a file of a killed run is cut, flipped, emptied, replaced or deleted",
    "damage finished": "the same of a finished run",
}


def origin() -> dict[str, Any]:
    """By what code, and where, a campaign is made: the first line of its record."""
    head, dirty = commit()
    machine = describe_machine(torch.device("cpu"))
    named = {name: machine[name] for name in ("cpu", "cores", "platform", "python", "torch")}
    return {"commit": head[:12], "dirty": dirty, **describe_processor(), **named}


def counted(path: Path) -> list[dict[str, Any]]:
    """The rows that the campaign in `path` comes to. Raises ValueError where no commit has the code that made it."""
    by, *faults = (json.loads(line) for line in path.read_text().splitlines())
    if by.pop("dirty"):
        raise ValueError(f"{path} was made by code that no commit has; commit, and run the campaign again")
    counts: dict[tuple[Any, ...], Counter[str]] = {}
    for fault in faults:
        here = counts.setdefault(tuple(fault[name] for name in GROUP), Counter())
        signals = fault["struck"] if fault["kind"] in BY_SIGNAL else 0
        others = 0 if fault["kind"] in BY_SIGNAL else fault["struck"]
        here.update({"faults": 1, "signals": signals, "others": others, fault["outcome"]: 1})
    seed = {fault["seed"] for fault in faults}.pop()
    return [
        {**by, "seed": seed, **dict(zip(GROUP, group, strict=True)), **{name: here[name] for name in COUNTS}}
        for group, here in sorted(counts.items())
    ]


def told(rows: Sequence[Mapping[str, Any]]) -> str:
    """Where, and by which code and seeds, the campaigns of `rows` were made, and their counts by kind, in Markdown."""
    made = {name: ", ".join(dict.fromkeys(str(row[name]) for row in rows)) for name in rows[0] if name not in GROUP}
    of = f"{'Seeds' if ',' in made['seed'] else 'Seed'} {made['seed']}, commit {made['commit']}"
    cpu = " ".join(filter(None, (made["cpu"], made.get("capability"))))
    where = f"{cpu}, {made['cores']} cores, {made['platform']}, Python {made['python']}, torch {made['torch']}"
    return f"{of}; {where}:\n\n{table(rows)}"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| what happens | faults | signals | others | the same | refused | wrong |", "|---|---" + "|---" * 5 + "|"]
    for kind in (*TOLD, "all"):
        here = [row for row in rows if kind in (row["kind"], "all")]
        counts = (f"{sum(int(row[name]) for row in here):,}" for name in COUNTS)
        lines.append(" | ".join([f"| {TOLD.get(kind, kind)}", *counts]) + " |")
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    *campaigns, record = map(Path, words)
    rows = [row for campaign in campaigns for row in counted(campaign)]
    record.parent.mkdir(parents=True, exist_ok=True)
    with record.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    page = record.parents[1] / "README.md"
    if page.exists():
        page.write_text(ON_PAGE.sub(lambda _: told(rows), page.read_text()))
    print(told(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
