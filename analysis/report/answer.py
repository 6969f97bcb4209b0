"""The answer: for each budget the front of accuracy against bytes, the courses, and the numbers of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from ..names import mebibytes
from ..page import Backed, Page, Table, table
from ..render.html import Links, attribute, block, words
from ..statistics import BOTH, HOW_BOTH
from ..table_page import csv_fields
from ..tables import interval_text, ours_text
from .axes import Axis, axis
from .groups import Group, accuracy, front
from .pictures import Point, curves, points

WIDE = 0.25  # an interval of a quarter of all accuracies
MOST_COURSES = 40  # that can be told apart in a picture, and whose points a page has room for
FRONT = "front"  # the heading under which those on it are marked
NUMBERS = ("accuracy in %", "95% interval", FRONT, "held", "measured", "process", "batch", "seconds")
READING = (
    "Accuracy: mean ± standard deviation (number of seeds), and the 95% interval. Front: no other has as few bytes and "
    "is as accurate. Held: what counts against the budget, by the accounting that decided. Measured: the most bytes of "
    "tensors alive in real steps. Process: what the whole process held meanwhile, Python and PyTorch included, "
    "where that was recorded."
)
DRAWN = (
    " Courses are of the 40 most accurate. Bands reach from the lowest seed to the highest. A dotted line: what always "
    "giving the most frequent class is right for, where that is on record."
)


@dataclass(frozen=True)
class Facet:
    """One of the tabs. size: of a memory budget in bytes; then what holds no more competes, whatever its own budget."""

    value: Any
    title: str
    size: float | None = None


@dataclass(frozen=True)
class Study:
    """What is compared. headings: of the settings that tell groups apart; x: what courses are over, in words."""

    slug: str
    title: str
    groups: Sequence[Group]
    facets: Sequence[Facet]
    headings: Sequence[str]
    x: str
    is_log: bool
    provenance: str = ""

    @cached_property
    def beside(self) -> list[str]:
        """What is on record of any group beside its accuracy."""
        return list(dict.fromkeys(heading for one in self.groups for heading in one.beside))

    def of(self, facet: Facet) -> list[Group]:
        return [one for one in self.groups if same(one.facet, facet.value)]

    def competing(self, facet: Facet) -> list[Group]:
        """What may be on the front of a tab."""
        if facet.size is None:
            return self.of(facet)
        sizes = {other.value: other.size or math.inf for other in self.facets}
        within = [one for one in self.groups if sizes.get(one.facet, math.inf) <= facet.size]
        return within or self.of(facet)


def same(one: Any, other: Any) -> bool:
    return one == other or (pd.isna(one) and pd.isna(other))


def html(study: Study, links: Links) -> str:
    """Tabs, which work without a script; on paper all of them are shown."""
    tabs = "\n".join(tab(study, number, facet) for number, facet in enumerate(study.facets))
    panels = "\n".join(panel(study, number, facet, links) for number, facet in enumerate(study.facets))
    return f'<div class="tabs">{tabs}\n{panels}</div>\n<p class="note">{words(READING + DRAWN + how(study))}</p>'


def how(study: Study) -> str:
    return f" {HOW_BOTH}" if any(one.final and one.final.interval == BOTH for one in study.groups) else ""


def tab(study: Study, number: int, facet: Facet) -> str:
    name, checked = f"{study.slug}-{number}", " checked" if number == 0 else ""
    choice = f'<input type="radio" name="{study.slug}" id="{name}" value="{number}"{checked}>'
    return f'{choice}<label for="{name}">{words(facet.title)}</label>'


def panel(study: Study, number: int, facet: Facet, links: Links) -> str:
    here, competing = study.of(facet), study.competing(facet)
    best = front(competing)
    shown = table(
        study_headings(study), [cells(study, one, one in best) for one in here], numeric=len(study.headings) == 1
    )
    title = f"{study.title}, {facet.title}"
    return (
        f'<section class="panel" aria-label="{attribute(facet.title)}">\n<h3>{words(facet.title)}</h3>\n'
        f"<p>{words(winner(here))}</p>\n"
        f'<div class="pair">{pareto(study, facet, competing, best)}\n{courses(study, here, title)}</div>\n'
        f"{block(shown, title, links)}\n</section>"
    )


def winner(groups: Sequence[Group]) -> str:
    """Who ends highest, and by how much of its interval."""
    known = sorted((one for one in groups if one.final), key=accuracy, reverse=True)
    if not known:
        return "No run has a result here."
    parts = [f"*{known[0].name}* ends highest: {ours_text(known[0].final)} %"]
    if len(known) > 1:
        parts.append(f"next is {known[1].name} with {ours_text(known[1].final)} %")
    return "; ".join(parts) + "."


def pareto(study: Study, facet: Facet, competing: Sequence[Group], best: Sequence[Group]) -> str:
    made = {one.runs: point(one, is_here=same(one.facet, facet.value)) for one in competing if placed(one)}
    x, y = memory_axis(study), accuracy_axis(ends_of(study))
    title = f"Accuracy against bytes, {facet.title}"
    return points(list(made.values()), [made[one.runs] for one in best], x, y, title)


def placed(one: Group) -> bool:
    return one.final is not None and not math.isnan(one.held_bytes)


def point(one: Group, is_here: bool) -> Point:
    assert one.final is not None
    low, high = (one.final.mean if math.isnan(end) else end for end in (one.final.low, one.final.high))
    told = f"{one.name}: {ours_text(one.final)} %, {mebibytes(one.held_bytes)}, batch {one.batch_size}"
    return Point(one.name, one.drawn.color, one.held_bytes / 2**20, one.final.mean, low, high, told, not is_here)


def memory_axis(study: Study) -> Axis:
    return axis("memory held (MiB)", "log", [one.held_bytes / 2**20 for one in study.groups if placed(one)])


def ends_of(study: Study) -> list[float]:
    """Final accuracies of all tabs with their intervals; one that is too wide to say much is cut."""
    finals = [one.final for one in study.groups if one.final]
    told = [end for final in finals if final.high - final.low < WIDE for end in (final.low, final.high)]
    return [*(final.mean for final in finals), *told]


def accuracy_axis(values: Sequence[float]) -> Axis:
    """One for all tabs of a study, so that they can be compared."""
    return axis("accuracy (%), logit scale", "logit", values, lambda share: f"{100 * share:g}")


def courses(study: Study, here: Sequence[Group], title: str) -> str:
    best = sorted((one for one in here if one.course), key=accuracy, reverse=True)[:MOST_COURSES]
    drawn = [line for one in here if any(one is other for other in best) and (line := one.course)]
    every = [line for one in study.groups if (line := one.course)]
    x = axis(study.x, "log" if study.is_log else "linear", [end for line in every for end in (line.x[0], line.x[-1])])
    seen = [end for line in every for end in (line.low.min(), line.high.max())]
    seen += [share for one in study.groups if one.course for share in one.baselines]
    levels = sorted({share for one in here if one.course for share in one.baselines})
    return curves(drawn, x, accuracy_axis([*seen, *ends_of(study)]), f"Accuracy by {study.x}: {title}", levels)


def study_headings(study: Study) -> list[str]:
    return [*study.headings, *NUMBERS, *study.beside]


def cells(study: Study, one: Group, is_best: bool) -> list[str]:
    settings = [one.name] if len(one.settings) == 1 else list(one.settings)
    known = (one.held_bytes, one.measured_bytes, one.process_bytes)
    sizes = ["–" if math.isnan(size) else mebibytes(size) for size in known]
    note = f"*{one.note}*" if one.note else ""
    result = f"{ours_text(one.final)} {note}".strip() if one.final else note or "–"
    seconds = "–" if math.isnan(one.seconds) else f"{one.seconds:.4g}"
    return [
        *settings,
        Backed(result, one.runs),
        *(interval_text(one.final) or "–", "●" if is_best else "", *sizes, one.batch_size or "–", seconds),
        *(one.beside.get(heading, "–") for heading in study.beside),
    ]


def page(study: Study) -> Page:
    """The numbers of all tabs as one table, for LaTeX and as data."""
    rows, data = [], []
    for facet in study.facets:
        best = front(study.competing(facet))
        rows += [[facet.title, *cells(study, one, one in best)] for one in study.of(facet)]
        data += [fields(study, facet, one, one in best) for one in study.of(facet)]
    whole: Table = table(["", *study_headings(study)], rows)
    return Page(study.title, (whole, READING + how(study)), study.provenance, {"": pd.DataFrame(data)})


def fields(study: Study, facet: Facet, one: Group, is_best: bool) -> dict[str, Any]:
    names = [f"accuracy_{part}" for part in ("mean", "spread", "n", "low", "high", "interval")]
    return {
        "facet": facet.title,
        **dict(zip(study.headings, one.settings, strict=True)),
        **dict(zip(names, csv_fields(one.final), strict=True)),
        FRONT: is_best,
        "held_bytes": one.held_bytes,
        "measured_bytes": one.measured_bytes,
        "process_bytes": one.process_bytes,
        "batch_size": one.batch_size,
        "train_seconds": one.seconds,
        **{heading.replace(" ", "_"): one.beside.get(heading, "") for heading in study.beside},
        "note": one.note,
    }
