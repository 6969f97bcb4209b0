"""The shelf as a picture: accuracy against forward passes, a panel for each kind of method, and against bytes."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from .curves import best_ended, by_method, conditions, curve, draw
from .load import Records
from .names import Method, method, subject
from .palette import GREY, shade
from .shelf import BASELINE, KIB, Standing, front, standings
from .style import RC, EndLabel, NoRecords, headline, label_line_ends, styled

PANELS = {  # by where a method differs from MeZO
    "How slopes become a step": (*("zo_sgd_sign", "zo_slope_sign", "zo_momentum", "zo_adam", "zo_adamm", "zo_adamu"),),
    "What a direction is made of": (
        *("sparse_mezo", "lozo", "lozo_m", "subzero", "mezo_rank_one", "hizoo", "hizoo_exact"),
    ),
    "How a slope is taken": (*("mezo_8", "growing", "adazeta", "fzoo", "forward_gradient", "mezo_svrg"),),
    "Hybrids, privacy, few seeds": ("loho", "cls2", "dp_zo", "seed_pool"),
}
DASHES = ("-", "--")
HEIGHT = 3.0  # inches of a panel


@matplotlib.rc_context(RC)
def accuracy_by_passes(records: Records, profile: str = "paper") -> Figure:
    """Test accuracy by forward passes, with bands over seeds, and which methods nobody beats in accuracy and bytes.

    Raises NoRecords when nothing was evaluated.
    """
    if records.evals.empty:
        raise NoRecords("no run of the shelf was recorded; run make reproduce-zo-shelf")
    ended = dict(by_method(with_work(records)))
    shown = {title: [row for row in rows if row in ended] for title, rows in PANELS.items()}
    shown = {title: rows for title, rows in shown.items() if rows} or {"MeZO": []}
    figure = styled(height=1.25 + HEIGHT * (-(-len(shown) // 2) + 1))
    grid = figure.add_gridspec(-(-len(shown) // 2) + 1, 2)
    panels = [figure.add_subplot(grid[place // 2, place % 2]) for place in range(len(shown))]
    labels = [passes_panel(axes, ended, rows) for axes, rows in zip(panels, shown.values(), strict=True)]
    for axes, title in zip(panels, shown, strict=True):
        axes.set_title(title)
        axes.set_xlabel("work in forward passes")
    front = figure.add_subplot(grid[-1, :])
    bytes_panel(front, standings(records))
    for axes in (*panels, front):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_ylabel("test accuracy")
    headline(figure, f"The zeroth-order shelf: {subject(records.runs)}", reading(records.runs, profile))
    for axes, ends in zip(panels, labels, strict=True):
        label_line_ends(axes, ends)
    return figure


def reading(runs: pd.DataFrame, profile: str) -> str:
    return f"Every run does the same work; MeZO is in each panel. Labels: final accuracy.\n{conditions(runs, profile)}"


def with_work(records: Records) -> Records:
    """`records` whose evaluations have `work`: the passes so far, in those that a run of the baseline makes.

    A method that differentiates makes fewer for the same work: its whole run is as long as the baseline's. Where an
    evaluation does not tell its passes, they are taken to grow with the steps.
    """
    runs, evals = records.runs, records.evals
    totals = runs.loc[runs["cell_row"] == BASELINE, "forward_passes"].dropna()
    work = float((totals if len(totals) else runs["forward_passes"].dropna()).astype(float).max())
    measure = evals["forward_passes"].astype(float).fillna(evals["step"].astype(float))
    length = evals["key"].map(pd.Series(measure.groupby(evals["key"]).max()))
    return Records(runs, evals.assign(work=work * measure / length.where(length > 0)), records.full)


def passes_panel(axes: Axes, ended: dict[str, Records], rows: Sequence[str]) -> list[EndLabel]:
    """Draw the baseline and `rows`; returns the labels of the lines."""
    labels = []
    for row in (BASELINE, *rows):
        line = curve(best_ended(ended[row]), row, "work", "accuracy") if row in ended else None
        if line is not None:
            drawn = method(row) if row == BASELINE else look(row, rows.index(row), len(rows))
            labels.append(draw(axes, line, f"{drawn.short} {line.mean[-1]:.1%}", drawn))
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.0f}"))
    return labels


def look(row: str, place: int, places: int) -> Method:
    named = method(row)
    return Method(named.title, named.short, shade(place, places), DASHES[place % len(DASHES)])


def bytes_panel(axes: Axes, found: Sequence[Standing]) -> None:
    """Accuracy by bytes beside inference; those that none beats in both are named."""
    points = [(one.beside_bytes / KIB, one.final.mean, one) for one in found if one.final]
    best = front([(held, accuracy) for held, accuracy, _ in points])
    for place, (held, accuracy, one) in enumerate(points):
        color = method(one.row).color if place in best else GREY
        axes.plot(held, accuracy, "o", color=color, markersize=6 if place in best else 4)
        if place in best:
            axes.annotate(method(one.row).short, (held, accuracy), (6, -3), textcoords="offset points", color=color)
    line = sorted(points[place][:2] for place in best)
    axes.step(*zip(*line, strict=True), where="post", color=GREY, linewidth=1) if line else None
    axes.set_title("Accuracy by bytes: none is better than those named in both")
    axes.set_xlabel("KiB beside inference")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.0f}"))
