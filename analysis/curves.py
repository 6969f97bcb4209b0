"""Lines over time: losses by epoch, and test accuracy by seconds of training at a fixed memory budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.load import Records, latest
from analysis.names import column_title, in_order, mebibytes, method, subject
from analysis.style import GREY, RC, EndLabel, NoRecords, headline, label_line_ends, styled
from analysis.tables import banner, why

GRID_POINTS = 200
ACCURACIES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
SECONDS = (0.01, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000)
BAND = "line: mean over seeds; band: lowest to highest"


@dataclass(frozen=True)
class Curve:
    """A method's course over `x`: mean, lowest and highest over its seeds."""

    row: str
    batch_size: int
    seeds: int
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def curve(records: Records, row: str, x: str, y: str, log: bool = False) -> Curve | None:
    """The seeds of one method on a common grid, which ends where the first of them ends.

    log: grid spaced evenly in log x, from the first point past zero. None when nothing was recorded.
    """
    rows = records.evals.dropna(subset=[x, y])
    tracks = [track.sort_values(x) for _, track in rows.groupby("key", sort=True) if len(track) > 1]
    if not tracks:
        return None
    end = min(track[x].iloc[-1] for track in tracks)
    start = max(track[x][track[x] > 0].iloc[0] if log else track[x].iloc[0] for track in tracks)
    grid = np.geomspace(start, end, GRID_POINTS) if log else np.linspace(start, end, GRID_POINTS)
    values = np.stack([np.interp(grid, track[x].to_numpy(float), track[y].to_numpy(float)) for track in tracks])
    batch_size = int(records.runs["batch_size"].iloc[0])
    return Curve(row, batch_size, len(tracks), grid, values.mean(0), values.min(0), values.max(0))


def draw(axes: Axes, line: Curve) -> None:
    color = method(line.row).color
    axes.plot(line.x, line.mean, color=color, label=method(line.row).title)
    axes.plot(line.x[-1], line.mean[-1], "o", color=color, markersize=4)
    if line.seeds > 1:
        axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.18, linewidth=0)


def by_method(records: Records, per: tuple[str, ...] = ()) -> Iterator[tuple[str, Records]]:
    """The latest runs of each method, in the order of the tables."""
    runs = latest(records.runs.dropna(subset="cell_row"), [*per, "cell_row", "seed"])
    for row in in_order(set(runs["cell_row"])):
        chosen = runs[runs["cell_row"] == row]
        yield row, Records(chosen, records.evals[records.evals["key"].isin(chosen["key"])])


@matplotlib.rc_context(RC)
def loss_curves(records: Records, profile: str = "paper") -> Figure:
    """Training and test loss by epoch for each data set: the counterpart of ElasticZO's Figures 2 and 3.

    Raises NoRecords when nothing was evaluated.
    """
    records = records.only(records.runs["cell_column"].notna() & records.runs["key"].isin(records.evals["key"]))
    columns = sorted(set(records.runs["cell_column"]), key=lambda column: (len(column), column))
    if not columns:
        raise NoRecords("no training was recorded; run make reproduce-table1")
    figure = styled(height=1.1 + 2.9 * len(columns))
    panels = figure.subplots(len(columns), 2, squeeze=False, sharex=True, sharey="row")
    for column, (training, testing) in zip(columns, panels, strict=True):
        here = records.only(records.runs["cell_column"] == column)
        for axes, loss, name in ((training, "train_loss", "training"), (testing, "loss", "test")):
            lines = [line for row, part in by_method(here) if (line := curve(part, row, "epoch", loss))]
            for line in lines:
                draw(axes, line)
            axes.set(title=f"{column_title(column)}, {name}", yscale="log", ylabel="cross-entropy (nats)")
            axes.yaxis.set_tick_params(labelleft=True)
    for axes in panels[-1]:
        axes.set_xlabel("epoch")
    headline(figure, "Loss while training", f"{subject(records.runs)}; {BAND}{profile_note(profile, records.runs)}")
    for axes in panels.flat:
        plain_log_ticks(axes)
        label_line_ends(axes, end_labels(axes))
    return figure


def end_labels(axes: Axes) -> list[EndLabel]:
    """The name of each method at the end of its line."""
    drawn = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    return [
        EndLabel(float(line.get_xdata()[-1]), float(line.get_ydata()[-1]), str(line.get_label()), str(line.get_color()))
        for line in drawn
    ]


def plain_log_ticks(axes: Axes) -> None:
    """Tick labels of the logarithmic y axis as plain numbers, at 1, 2 and 5 times powers of ten within its limits."""
    low, high = axes.get_ylim()
    ticks = [digit * 10.0**power for power in range(-8, 4) for digit in (1, 2, 5) if low <= digit * 10.0**power <= high]
    if len(ticks) > 8:
        ticks = [tick for tick in ticks if f"{tick:e}".startswith("1")]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))


@matplotlib.rc_context(RC)
def accuracy_by_seconds(records: Records, profile: str = "paper") -> Figure:
    """Test accuracy by seconds of training, a panel for each memory budget, each method at the largest batch that fits.

    Raises NoRecords when no run had a budget.
    """
    budgets = budgets_of(records)
    across = min(3, len(budgets))
    down = -(-len(budgets) // across)
    figure = styled(height=1.25 + 3.1 * down)
    panels = figure.subplots(down, across, squeeze=False, sharey=True).flatten()
    for axes in panels[len(budgets) :]:
        axes.remove()
    labels = [budget_panel(axes, records, budget) for axes, budget in zip(panels, budgets, strict=False)]
    same_axes(panels[: len(budgets)])
    for index, axes in enumerate(panels[: len(budgets)]):
        axes.set_title(f"{mebibytes(budgets[index])}")
        axes.set_xlabel("seconds of training")
        if index % across == 0:
            axes.set_ylabel("test accuracy (%)")
    headline(figure, f"What each memory budget buys: {subject(records.runs)}", reading(records, profile))
    for axes, ends in zip(panels, labels, strict=False):
        label_line_ends(axes, ends)
    return figure


@matplotlib.rc_context(RC)
def accuracy_by_seconds_at(records: Records, budget: int | None = None, profile: str = "paper") -> Figure:
    """The panel of one budget (by default the smallest) on its own, with room for full names.

    Raises NoRecords when no run had that budget.
    """
    budgets = budgets_of(records)
    budget = budgets[0] if budget is None else budget
    if budget not in budgets:
        raise NoRecords(f"no run had a budget of {mebibytes(budget)}; there are {', '.join(map(mebibytes, budgets))}")
    figure = styled(height=5.2)
    axes = figure.subplots()
    labels = budget_panel(axes, records, budget, full_names=True)
    same_axes(np.array([axes]))
    axes.set(xlabel="seconds of training", ylabel="test accuracy (%)")
    headline(figure, f"Training in {mebibytes(budget)}: {subject(records.runs)}", reading(records, profile))
    label_line_ends(axes, labels)
    return figure


def budgets_of(records: Records) -> list[int]:
    budgets = sorted({int(size) for size in records.runs["budget_bytes"].dropna()})
    if not budgets:
        raise NoRecords("no run had a memory budget; run make reproduce EXPERIMENT=elasticzo/budgets")
    return budgets


def budget_panel(axes: Axes, records: Records, budget: int, full_names: bool = False) -> list[EndLabel]:
    """Draw the methods that trained under `budget` and note why others did not; returns the labels of the lines."""
    labels, absent = [], []
    here = records.only(records.runs["budget_bytes"] == budget)
    for row, part in by_method(here):
        name = method(row).title if full_names else method(row).short
        ended = part.only(part.runs["status"] == "finished")
        line = curve(ended, row, "train_seconds", "accuracy", log=True)
        reasons = part.runs[part.runs["status"] != "finished"].to_dict("records")
        absent += [f"{name} {reason}" for reason in dict.fromkeys(map(why_in_panel, reasons))]
        if line is None:
            continue
        draw(axes, line)
        final, size = 100 * line.mean[-1], line.batch_size
        text = f"{name}  {final:.1f}%, batch {size}" if full_names else f"{name} {final:.1f}, b {size}"
        labels.append(EndLabel(line.x[-1], line.mean[-1], text, method(row).color))
    axes.text(0.98, 0.03, "\n".join(absent), transform=axes.transAxes, ha="right", va="bottom", color=GREY, fontsize=9)
    return labels


def why_in_panel(run: dict[str, object]) -> str:
    if run["status"] == "over_budget":
        return f"does not fit:\nneeds {mebibytes(float(str(run['total_bytes'])))} at batch {run['batch_size']}"
    return why(run)


def same_axes(panels: np.ndarray) -> None:
    """One logarithmic time axis for all panels, and one accuracy axis with as much room for 90–99% as for 50–90%."""
    lines = [line for axes in panels for line in axes.get_lines()]
    x = np.concatenate([np.asarray(line.get_xdata(), float) for line in lines]) if lines else np.array([1.0, 10.0])
    y = np.concatenate([np.asarray(line.get_ydata(), float) for line in lines]) if lines else np.array([0.1, 0.9])
    for axes in panels:
        axes.set(xscale="log", yscale="logit", xlim=(x.min() * 0.9, x.max() * 1.1))
        axes.set_ylim(clip(y.min(), 0.9), clip(y.max(), 1.3))
        axes.xaxis.set_major_locator(FixedLocator([tick for tick in SECONDS if x.min() * 0.9 <= tick <= x.max() * 1.1]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
        axes.yaxis.set_major_locator(FixedLocator(ACCURACIES))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{100 * tick:g}"))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())


def clip(share: float, odds: float) -> float:
    """`share` with its odds multiplied, kept away from 0 and 1 where a logit axis has no end."""
    share = min(max(share, 0.02), 0.9995)
    ratio = odds * share / (1 - share)
    return ratio / (1 + ratio)


def reading(records: Records, profile: str) -> str:
    machine = records.runs.dropna(subset="cpu")
    where = f"; {machine['cpu'].iloc[0]}, {machine['threads'].iloc[0]} thread" if len(machine) else ""
    seeds = records.runs["seed"].nunique()
    band = f"mean of {seeds} seeds, band from lowest to highest" if seeds > 1 else "one seed"
    return (
        "Each method trains with the largest batch that fits (b). Labels: final accuracy in %.\n"
        f"{band}{where}{profile_note(profile, records.runs)}"
    )


def profile_note(profile: str, runs: pd.DataFrame) -> str:
    """The loud part of the banner, for runs that are not the full protocol."""
    return "" if profile == "paper" else f"\n{banner(profile, runs).partition('. ')[2]}"
