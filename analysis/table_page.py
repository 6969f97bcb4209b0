"""A paper's table as a page."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from . import page
from .names import column_title, method
from .page import Backed, Page, Table
from .statistics import Estimate
from .tables import Cell, ResultTable, difference_text, footnotes, interval_text, ours_of, ours_text, percent

LEGEND = "Ours: mean ± standard deviation (number of seeds)"
COLUMNS_ABREAST = 2  # of the paper's: more do not fit a page


def page_of(table: ResultTable, listed_in: str = "") -> Page:
    """The table for a README: methods as rows, two of the paper's columns abreast.

    listed_in: the page that lists superseded runs, where this one does not.
    """
    starts = range(0, len(table.columns), COLUMNS_ABREAST)
    blocks = [block(table, table.columns[start : start + COLUMNS_ABREAST]) for start in starts]
    notes = " ".join(f"{note.removesuffix('.')}." for note in (LEGEND, *footnotes(table)))
    return Page(table.title, (*blocks, notes, superseded_part(table, listed_in)), table.provenance, {"": data(table)})


def superseded_part(table: ResultTable, listed_in: str) -> Table | str:
    """A line for each run that is in no cell: which, what it scored on the test set, and why; or where they are."""
    lines = [
        (
            method(cell.row).title,
            column_title(cell.column),
            str(run.seed),
            Backed(percent(run.accuracy), [run.key]),
            run.reason,
        )
        for cell in table.cells
        for run in cell.superseded
    ]
    if not lines:
        return ""
    if listed_in:
        return f"{len(lines)} superseded runs, what they scored and why: [listed]({listed_in})."
    return page.table(("superseded run of", "", "seed", "scored", "why"), lines)


def block(table: ResultTable, columns: Sequence[str]) -> Table:
    headings = ["", *(title for column in columns for title in titles(table, column))]
    rows = [
        [method(cells[0].row).title, *(text for cell in cells for text in texts(cell, table))]
        for cells in zip(*(table.of(column) for column in columns), strict=True)
    ]
    return page.table(headings, rows, numeric=True)


def titles(table: ResultTable, column: str) -> list[str]:
    """Headings of what `texts` says; a column of which nothing is published has no room for it."""
    beside = ["published", "difference"] if table.is_published(column) else []
    recorded = ["recorded, paper profile"] if table.shows_recorded else []
    return [f"{column_title(column)}: ours", "95% interval", *beside, *recorded]


def texts(cell: Cell, table: ResultTable) -> list[str]:
    note = f"*{cell.note}*" if cell.note else ""
    ours = f"{ours_of(cell)} {note}".strip() if cell.ours else note or "–"
    beside = [percent(cell.published), difference_text(cell)] if table.is_published(cell.column) else []
    recorded = [ours_text(cell.recorded)] if table.shows_recorded else []
    return [Backed(ours, cell.runs), interval_text(cell.ours) or "–", *beside, *recorded]


def data(table: ResultTable) -> pd.DataFrame:
    """The table as data: a row for each cell, in percent and points."""
    parts = ("mean", "spread", "n", "low", "high", "interval")
    results = [f"{whose}_{part}" for whose in ("ours", "recorded") for part in parts]
    rows = [
        [
            *(table.profile, cell.row, cell.column, csv_percent(cell.published), csv_percent(cell.difference)),
            *(*csv_fields(cell.ours), *csv_fields(cell.recorded)),
            *(cell.verdict, cell.note, "; ".join(csv_percent(run.accuracy) for run in cell.superseded)),
        ]
        for cell in table.cells
    ]
    columns = ["profile", "row", "column", "published", "difference", *results, "verdict", "note", "superseded"]
    return pd.DataFrame(rows, columns=columns)


def csv_fields(result: Estimate | None) -> list[str]:
    if result is None:
        return [""] * 6
    mean, spread, low, high = map(csv_percent, (result.mean, result.spread, result.low, result.high))
    return [mean, spread, str(result.n), low, high, result.interval]


def csv_percent(share: float | None) -> str:
    return "" if share is None or math.isnan(share) else f"{100 * share:.3f}"
