"""An index of runs in words: what each was, how it ended, and what it reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from .load import Records
from .page import Page, table
from .render.terminal import terminal
from .report.groups import written
from .report.own import APART, settings_of
from .tables import percent

PARTS = ("optimizer", "model", "dataset", "memory_budget", "seed")  # which every line names
MOST = 4  # of other settings in a line, which has to be read
HEADINGS = ("run", "started", *(part.replace("_", " ") for part in PARTS), "also differs in", "ended", "accuracy in %")


def index(records: Records, where: str) -> str:
    """Every run of `records`, by its experiment and then by when it was started; where: they were read from."""
    full = sorted(records.full.values(), key=lambda record: record["started_at"])
    experiments = dict.fromkeys(sorted(record["experiment"] for record in full))
    parts = []
    for experiment in experiments:
        own = [record for record in full if record["experiment"] == experiment]
        parts += [f"{experiment}: {len(own)} runs", table(HEADINGS, lines(own))]
    return terminal(Page(f"{len(full)} runs in {where}", tuple(parts), ""))


def lines(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A line for each of `records`, which are of one experiment."""
    settings = pd.DataFrame([settings_of(record) for record in records]).map(written)
    others = [name for name in settings if name not in (*PARTS, *APART) and settings[name].nunique() > 1]
    return [
        [
            record["key"],
            record["started_at"][:16].replace("T", " "),
            *(row.get(part, "–") for part in PARTS),
            in_short([f"{name}={row[name]}" for name in others if row[name] != "–"]),
            record["status"],
            reached(record),
        ]
        for record, row in zip(records, settings.to_dict("records"), strict=True)
    ]


def in_short(settings: Sequence[str]) -> str:
    """The first of `settings`, those of a part before those within its settings, and how many more there are."""
    nearest = sorted(settings, key=lambda setting: setting.partition("=")[0].count("."))
    more = [f"{len(nearest) - MOST} more"] if len(nearest) > MOST else []
    return ", ".join(nearest[:MOST] + more) or "–"


def reached(record: Mapping[str, Any]) -> str:
    final = record.get("summary", {}).get("final_accuracy")
    return "–" if final is None else f"{percent(final)} of {record['dataset'].get('scored', 'test')}"
