"""What a page of results says, apart from how it is written: `analysis.render` has a writer for each form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import pandas as pd


class Backed(str):
    """The words of a cell that know the keys of the runs behind them; a form that has no links has the words alone."""

    runs: tuple[str, ...]

    def __new__(cls, words: str, runs: Iterable[str] = ()) -> Self:
        self = super().__new__(cls, words)
        self.runs = tuple(runs)
        return self


@dataclass(frozen=True)
class Table:
    """Headings and rows in words; a heading or a cell names its unit."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: bool = False  # all columns but the first hold numbers, which end at the right


@dataclass(frozen=True)
class Page:
    """A title, then paragraphs and tables in their order, and where the numbers come from.

    data: the same results as numbers, a frame for each file; the name is what follows that of the page.
    """

    title: str
    parts: tuple[str | Table, ...]
    provenance: str
    data: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def said(self) -> list[str | Table]:
        """The parts that say something."""
        return [part for part in (*self.parts, self.provenance) if part]


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: bool = False) -> Table:
    return Table(tuple(headings), tuple(map(tuple, rows)), numeric)
