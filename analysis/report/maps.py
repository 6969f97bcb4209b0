"""Maps over two settings: the accuracy that each pair of values reached, and why a pair has none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from .. import palette
from ..page import Backed, Page, table
from ..render.html import attribute, words
from .answer import Study
from .groups import Group, accuracy
from .pictures import tone

SIDE, HIGH, LEFT, TOP = 74, 30, 90, 26  # of a cell, and the room for the values of the settings
MOST = 24  # values of a setting whose map is drawn; the table has all
UNTRIED = "not tried"


@dataclass(frozen=True)
class Map:
    """The group of each pair of values, with all other settings alike; absent where none was run."""

    title: str
    x: str
    y: str
    xs: Sequence[str]
    ys: Sequence[str]
    cells: dict[tuple[str, str], Group]

    def at(self, x: str, y: str) -> Group | None:
        return self.cells.get((x, y))


def pair_of(said: str, study: Study) -> tuple[str, str]:
    """The two settings in `said`. Raises ValueError unless they are two that differ between the runs of `study`."""
    names = said.split(",")
    unknown = [name for name in names if name not in study.headings]
    if len(set(names)) != 2 or len(names) != 2:
        raise ValueError(f"map={said} is no pair of settings; write map=optimizer.lr,optimizer.eps")
    if unknown:
        raise ValueError(
            f"map={said}: {unknown[0]} tells no runs apart here; choose two of {', '.join(study.headings)}"
        )
    return names[0], names[1]


def maps(study: Study, x: str, y: str) -> list[Map]:
    """A map for each combination of the other settings under each tab."""
    across, up = (study.headings.index(name) for name in (x, y))
    found = []
    for facet in study.facets:
        kinds: dict[tuple[str, ...], dict[tuple[str, str], Group]] = {}
        for one in study.of(facet):
            others = tuple(value for place, value in enumerate(one.settings) if place not in (across, up))
            kinds.setdefault(others, {})[one.settings[across], one.settings[up]] = one
        for others, cells in kinds.items():
            xs, ys = (sorted({pair[place] for pair in cells}, key=in_size) for place in (0, 1))
            title = ", ".join([*(value for value in others if value != "–"), facet.title])
            found.append(Map(title, x, y, xs, ys, cells))
    return found


def in_size(value: str) -> tuple[bool, float, str]:
    """Numbers by their size, then words."""
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value


def page(study: Study, x: str, y: str) -> Page:
    """The maps as tables, and every cell as a row of data."""
    parts: list = []
    for one in (found := maps(study, x, y)):
        rows = [[value, *(said(one.at(other, value)) for other in one.xs)] for value in one.ys]
        parts += [f"{one.title}:", table([f"{y} \\ {x}", *one.xs], rows)]
    reading = "Accuracy in %, the mean of seeds. Each map is of runs that differ in nothing else; a blank says why."
    data = pd.DataFrame(
        [
            {
                "map": one.title,
                x: right,
                y: up,
                "accuracy": accuracy(group) if group.final else math.nan,
                "note": group.note,
                "runs": " ".join(group.runs),
            }
            for one in found
            for (right, up), group in one.cells.items()
        ]
    )
    return Page(f"Accuracy by {x} and {y}: {study.title}", (*parts, reading), "", {"": data})


def said(one: Group | None) -> str:
    if one is None:
        return UNTRIED
    return Backed(f"{100 * one.final.mean:.2f}" if one.final else one.note or "–", one.runs)


def html(study: Study, x: str, y: str) -> str:
    """The maps as pictures, of which the colours are of one scale."""
    found = maps(study, x, y)
    known = [accuracy(one) for each in found for one in each.cells.values() if one.final]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return "\n".join(drawn(one, low, high) for one in found if max(len(one.xs), len(one.ys)) <= MOST)


def drawn(one: Map, low: float, high: float) -> str:
    """A map as SVG: the more accurate, the stronger the colour; what has no number is outlined and says why."""
    color = tone(palette.COLORS["backprop"])
    parts = []
    for row, up in enumerate(reversed(one.ys)):
        parts.append(f'<text x="{LEFT - 8}" y="{TOP + HIGH * row + 20}" text-anchor="end">{words(up)}</text>')
        for column, right in enumerate(one.xs):
            group = one.at(right, up)
            left, top = LEFT + SIDE * column, TOP + HIGH * row
            box = f'x="{left}" y="{top}" width="{SIDE - 2}" height="{HIGH - 2}"'
            where = f"{one.x}={right}, {one.y}={up}"
            if group is None or group.final is None:
                why = UNTRIED if group is None else group.note or "no result"
                mark = "" if group is None else "×"
                shape = f'<rect class="grid" {box}/>'
            else:
                share = (group.final.mean - low) / (high - low) if high > low else 1.0
                why, mark = f"{said(group)} %", f"{100 * group.final.mean:.1f}"
                shape = f'<rect {box} style="fill:{color};fill-opacity:{0.1 + 0.5 * share:.2f}"/>'
            label = f'<text x="{left + SIDE / 2 - 1}" y="{top + 19}" text-anchor="middle">{mark}</text>'
            parts.append(f"<g><title>{words(f'{where}: {why}')}</title>{shape}{label}</g>")
    bottom = TOP + HIGH * len(one.ys)
    for column, right in enumerate(one.xs):
        middle = LEFT + SIDE * column + SIDE / 2
        parts.append(f'<text x="{middle}" y="{bottom + 16}" text-anchor="middle">{words(right)}</text>')
    parts.append(f'<text class="axis" x="{LEFT}" y="{bottom + 38}">{words(f"right: {one.x}, up: {one.y}")}</text>')
    width, height = LEFT + SIDE * max(len(one.xs), 5), bottom + 46
    title = f"Accuracy by {one.x} and {one.y}, {one.title}"
    return (
        f'<h3>{words(one.title)}</h3>\n<div class="picture map"><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{attribute(title)}" style="max-width:{width}px">{"".join(parts)}</svg></div>'
    )
