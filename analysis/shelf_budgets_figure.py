"""The shelf within budgets as a picture: accuracy by bytes and by seconds, a row of panels for each budget."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, PercentFormatter

from .curves import conditions
from .load import Records
from .names import method, subject
from .palette import GREY
from .papers import budgets
from .shelf_budgets import MB, Contender, best_within, contenders, size_text, trained
from .style import RC, EndLabel, NoRecords, headline, label_line_ends, styled

HEIGHT = 3.4  # inches of a budget's row
MARKERS = "o^sDv"  # by the place of the model


@matplotlib.rc_context(RC)
def accuracy_within_budgets(records: Records, profile: str = "paper") -> Figure:
    """Of each budget, the accuracy of what fits by measured bytes and by seconds; what none beats in all is named.

    Raises NoRecords when no run finished.
    """
    ended = records.runs[records.runs["status"] == "finished"]
    if ended.empty:
        raise NoRecords("no run of the shelf within budgets was recorded; run make reproduce-shelf")
    found = contenders(records)
    columns = sorted({one.column for one in found})
    sizes = budgets(str(ended["experiment"].iloc[0]))
    figure = styled(height=1.25 + HEIGHT * len(sizes))
    panels = figure.subplots(len(sizes), 2, squeeze=False, sharey=True)
    ends: list[tuple[Axes, list[EndLabel]]] = []
    for size, (by_bytes, by_seconds) in zip(sizes, panels, strict=True):
        ends.append((by_bytes, budget_panel(by_bytes, found, size, columns, "measured_bytes", MB)))
        ends.append((by_seconds, budget_panel(by_seconds, found, size, columns, "seconds", 1)))
        by_bytes.set_title(f"{size_text(size)}: accuracy by bytes")
        by_seconds.set_title(f"{size_text(size)}: accuracy by seconds")
        by_bytes.set(ylabel="test accuracy", xlabel="MB, measured peak")
        by_seconds.set_xlabel("seconds of training")
    marks = ", ".join(f"{MARKERS_SAID[place]} {trained(column)}" for place, column in enumerate(columns))
    headline(
        figure,
        f"The shelf within budgets: {subject(records.runs)}",
        "Named: no other that fits is as accurate in as few bytes and seconds. "
        f"{marks}.\n{conditions(records.runs, profile, has_bands=False)}",
    )
    for axes, labels in ends:
        label_line_ends(axes, labels)
    return figure


MARKERS_SAID = ("circles:", "triangles:", "squares:", "diamonds:", "wedges:")


def budget_panel(
    axes: Axes, found: Sequence[Contender], budget: float, columns: Sequence[str], cost: str, unit: float
) -> list[EndLabel]:
    """Draw what fits `budget`: accuracy by the part `cost` of a standing, in `unit`. Returns the names of the best."""
    best = best_within(found, budget)
    labels: list[EndLabel] = []
    for one in found:
        if not one.fits(budget) or one.standing.final is None:
            continue
        place = (getattr(one.standing, cost) / unit, one.standing.final.mean)
        named, marker = one in best, MARKERS[columns.index(one.column)]
        color = method(one.standing.row).color if named else GREY
        axes.plot(*place, marker, color=color, markersize=6 if named else 4)
        if named:
            labels.append(EndLabel(*place, method(one.standing.row).short, color))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda tick, _: ""))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return labels
