"""Lines over time: losses by epoch, and test accuracy by seconds of training at a fixed memory budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from .load import Records, latest
from .names import (
    MOST_FREQUENT,
    Method,
    arithmetic_title,
    budget_title,
    column_title,
    in_order,
    meanings,
    mebibytes,
    method,
    subject,
)
from .palette import GREY
from .style import RC, EndLabel, NoRecords, headline, label_line_ends, styled
from .tables import machine, profile_banner, why

GRID_POINTS = 200
LEAST_LOSS = 1e-3  # nats; an integer network can reach exactly 0, which no logarithmic axis has
PANELS_ABREAST = 2
ACCURACIES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
ACCURACY_LABEL = "test accuracy (%), logit scale"
SECONDS = (0.01, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000)


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
    found = on_grid([track for _, track in sorted(tracks(rows, x, y).items())], log)
    if found is None:
        return None
    grid, values = found
    batch_size = int(records.runs["batch_size"].iloc[0])
    return Curve(row, batch_size, len(values), grid, values.mean(0), values.min(0), values.max(0))


Track = tuple[np.ndarray, np.ndarray]  # x, which rises, and y


def tracks(evals: pd.DataFrame, x: str, y: str) -> dict[str, Track]:
    """Where each run has both, by its key; of runs that were scored once there is none."""
    known = evals[["key", x, y]].dropna().sort_values(["key", x], kind="stable")
    keys, first, counts = np.unique(known["key"].to_numpy(object), return_index=True, return_counts=True)
    right, up = known[x].to_numpy(float), known[y].to_numpy(float)
    places = zip(keys, first, first + counts, strict=True)
    return {str(key): (right[start:end], up[start:end]) for key, start, end in places if end - start > 1}


def on_grid(seeds: Sequence[Track], log: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """The grid that `seeds` share and what each has on it, (seeds, points); None without a seed."""
    if not seeds:
        return None
    end = min(x[-1] for x, _ in seeds)
    start = max(x[x > 0][0] if log else x[0] for x, _ in seeds)
    grid = np.geomspace(start, end, GRID_POINTS) if log else np.linspace(start, end, GRID_POINTS)
    return grid, np.stack([np.interp(grid, x, y) for x, y in seeds])


def best_ended(records: Records) -> Records:
    """The finished runs; where there are none, the others as far as they came, so that a divergence is seen."""
    finished = records.only(records.runs["status"] == "finished")
    return records if finished.runs.empty else finished


def draw(axes: Axes, line: Curve, text: str, drawn: Method | None = None) -> EndLabel:
    """Draw the mean, its end and the band of the seeds; returns `text` as the label of the end.

    drawn: how, where that is not told by the row.
    """
    drawn = drawn or method(line.row)
    color = drawn.color
    axes.plot(line.x, line.mean, color=color, linestyle=drawn.dash, label=drawn.title)
    axes.plot(line.x[-1], line.mean[-1], "o", color=color, markersize=4)
    if line.seeds > 1:
        axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.18, linewidth=0)
    return EndLabel(float(line.x[-1]), float(line.mean[-1]), text, color)


def baselines(shares: Iterable[float]) -> list[float]:
    """What always giving the most frequent class is right for: each of `shares` once."""
    return sorted({round(float(share), 4) for share in shares})


def draw_baselines(axes: Axes, runs: pd.DataFrame) -> list[EndLabel]:
    """Draw a dotted line at each baseline of `runs`; returns their labels, which stand where the lines drawn end."""
    right = float(axes.dataLim.xmax)
    shares = baselines(runs["majority_accuracy"].dropna()) if axes.lines else []
    for share in shares:
        axes.axhline(share, color=GREY, linewidth=0.9, linestyle=":")
    return [EndLabel(right, share, f"{MOST_FREQUENT} {share:.1%}", GREY) for share in shares]


def by_method(records: Records) -> Iterator[tuple[str, Records]]:
    """The latest runs of each method, in the order of the tables."""
    runs = latest(records.runs.dropna(subset="cell_row"), ["cell_row", "seed"])
    for row in in_order(set(runs["cell_row"])):
        chosen = runs[runs["cell_row"] == row]
        yield row, records.only(records.runs["key"].isin(chosen["key"]))


@matplotlib.rc_context(RC)
def loss_curves(records: Records, arithmetic: str, profile: str = "paper") -> Figure:
    """Training and test loss by epoch for each data set: the counterpart of ElasticZO's Figures 2 (FP32) and 3 (INT8).

    Raises NoRecords when nothing in this arithmetic was evaluated.
    """
    here = records.runs["method.arithmetic"].map(arithmetic_title, na_action="ignore") == arithmetic
    records = records.only(here & records.runs["key"].isin(records.evals["key"]))
    losses = {name: records.evals[name].clip(lower=LEAST_LOSS) for name in ("train_loss", "loss")}
    records = Records(records.runs, records.evals.assign(**losses))
    columns = sorted(set(records.runs["cell_column"]), key=lambda column: (len(column), column))
    if not columns:
        raise NoRecords(f"no training in {arithmetic} was recorded; run make reproduce-table1")
    figure = styled(height=1.1 + 2.9 * len(columns))
    panels = figure.subplots(len(columns), 2, squeeze=False, sharex="row", sharey="row")
    labels = []
    for column, (training, testing) in zip(columns, panels, strict=True):
        here = records.only(records.runs["cell_column"] == column)
        for axes, loss, name in ((training, "train_loss", "training"), (testing, "loss", "test")):
            lines = [line for row, part in by_method(here) if (line := curve(best_ended(part), row, "epoch", loss))]
            labels.append([draw(axes, line, method(line.row).title) for line in lines])
            axes.set(title=f"{column_title(column)}, {name}", yscale="log")
            axes.yaxis.set_tick_params(labelleft=True)
        training.set_ylabel("cross-entropy (nats)")
    for axes in panels[-1]:
        axes.set_xlabel("epoch" if profile == "paper" else "epoch of the full protocol, compressed")
    least = min(values.min() for values in losses.values())
    floor = f"; losses below {LEAST_LOSS:g} are drawn at {LEAST_LOSS:g}" if least <= LEAST_LOSS else ""
    note = f"{subject(records.runs)}; {seeds_note(records.runs)}{floor}{profile_note(profile, records.runs)}"
    headline(figure, "Loss while training", f"{meanings(records.runs['cell_row'].dropna())}\n{note}")
    for axes, ends in zip(panels.flat, labels, strict=True):
        plain_log_ticks(axes)
        label_line_ends(axes, ends)
    return figure


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
    down = -(-len(budgets) // PANELS_ABREAST)
    figure = styled(height=1.25 + 2.75 * down)
    panels = figure.subplots(down, PANELS_ABREAST, squeeze=False, sharey=True).flatten()
    drawn = [budget_panel(axes, records, budget) for axes, budget in zip(panels, budgets, strict=False)]
    accuracy_axis(panels)
    seconds_axis(panels[: len(budgets)])
    for axes, budget in zip(panels, budgets, strict=False):
        axes.set_title(budget_title(budget))
    for axes in panels[::PANELS_ABREAST]:
        axes.set_ylabel(ACCURACY_LABEL)
    for axes in panels[len(budgets) :]:
        axes.set_visible(False)
    headline(figure, f"What a memory budget buys: {subject(records.runs)}", reading(records, profile))
    for axes, (ends, absent) in zip(panels, drawn, strict=False):
        label_line_ends(axes, ends, absent)
    return figure


@matplotlib.rc_context(RC)
def accuracy_by_seconds_at(records: Records, budget: int | None = None, profile: str = "paper") -> Figure:
    """The panel of one budget (by default the smallest) on its own.

    Raises NoRecords when no run had that budget.
    """
    budgets = budgets_of(records)
    budget = budgets[0] if budget is None else budget
    if budget not in budgets:
        raise NoRecords(
            f"no run had a budget of {budget_title(budget)}; there are {', '.join(map(budget_title, budgets))}"
        )
    figure = styled(height=5.0)
    axes = figure.subplots()
    ends, absent = budget_panel(axes, records, budget)
    accuracy_axis([axes])
    seconds_axis([axes])
    axes.set_ylabel(ACCURACY_LABEL)
    headline(figure, f"Training in {budget_title(budget)}: {subject(records.runs)}", reading(records, profile))
    label_line_ends(axes, ends, absent)
    return figure


def budgets_of(records: Records) -> list[int]:
    budgets = sorted({int(size) for size in records.runs["budget_bytes"].dropna()})
    if not budgets:
        raise NoRecords("no run had a memory budget; run make reproduce-budgets")
    return budgets


def budget_panel(axes: Axes, records: Records, budget: int) -> tuple[list[EndLabel], str]:
    """Draw the methods that trained under `budget`; returns the labels of their lines, and why others have none."""
    labels: list[EndLabel] = []
    absent: dict[str, None] = {}
    here = records.only(records.runs["budget_bytes"] == budget)
    for row, part in by_method(here):
        others = part.runs[part.runs["status"] != "finished"].to_dict("records")
        absent |= dict.fromkeys(f"{method(row).title}\n{why_in_panel(run)}" for run in others)
        line = curve(part.only(part.runs["status"] == "finished"), row, "train_seconds", "accuracy", log=True)
        if line is not None:
            text = f"{method(row).title} {100 * line.mean[-1]:.1f}%, batch {line.batch_size}"
            labels.append(draw(axes, line, text))
    labels += draw_baselines(axes, here.runs)
    return labels, "\n".join(absent)


def why_in_panel(run: Mapping[Any, Any]) -> str:
    if run["status"] == "over_budget" and run["total_bytes"] > run["budget_bytes"]:
        return f"does not fit: needs {mebibytes(run['total_bytes'])}"
    return why(run)


def seconds_axis(panels: Iterable[Axes]) -> None:
    """One logarithmic time axis for all `panels`."""
    panels = list(panels)
    ends = [end for axes in panels for end in axes.dataLim.intervalx if np.isfinite(end) and end > 0]
    low, high = (min(ends) * 0.9, max(ends) * 1.1) if ends else (1.0, 10.0)
    for axes in panels:
        axes.set(xscale="log", xlim=(low, high), xlabel="seconds of training")
        axes.xaxis.set_major_locator(FixedLocator([tick for tick in SECONDS if low <= tick <= high]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
        axes.xaxis.set_minor_locator(NullLocator())


def accuracy_axis(panels: Iterable[Axes]) -> None:
    """One accuracy axis for all `panels`, with as much room for 90–99% as for 50–90%."""
    panels = list(panels)
    ends = [end for axes in panels for end in axes.dataLim.intervaly if np.isfinite(end)]
    for axes in panels:
        axes.set_yscale("logit")
        axes.set_ylim(clip(min(ends, default=0.1), 0.9), clip(max(ends, default=0.9), 1.2))
        axes.yaxis.set_major_locator(FixedLocator(ACCURACIES))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{100 * tick:g}"))
        axes.yaxis.set_minor_locator(NullLocator())


def clip(share: float, odds: float) -> float:
    """`share` with its odds multiplied, kept away from 0 and 1 where a logit axis has no end."""
    share = min(max(share, 0.02), 0.9995)
    ratio = odds * share / (1 - share)
    return ratio / (1 + ratio)


def reading(records: Records, profile: str) -> str:
    """How to read the figure, what was run, and where."""
    first = "Each method trains with the largest batch that fits. Labels: final accuracy."
    told = [first, meanings(records.runs["cell_row"].dropna()), conditions(records.runs, profile)]
    return "\n".join(told)


def conditions(runs: pd.DataFrame, profile: str, has_bands: bool = True) -> str:
    """A line on how many seeds, on what machines and by how much of the protocol `runs` came about."""
    machines = dict.fromkeys(map(machine, runs.dropna(subset="cpu").to_dict("records")))
    seeds = seeds_note(runs, has_bands)
    return f"{seeds[0].upper()}{seeds[1:]}; {'; '.join(machines)}{profile_note(profile, runs)}"


def seeds_note(runs: pd.DataFrame, has_bands: bool = True) -> str:
    """Of how many seeds each line, or point, is the mean."""
    finished = runs[runs["status"] == "finished"]
    counts = sorted(set(finished.groupby(["cell_row", "cell_column"])["seed"].nunique()))
    if not counts or counts[-1] == 1:
        return "one seed"
    many = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"mean of {many} seeds{', band from lowest to highest' if has_bands else ''}"


def profile_note(profile: str, runs: pd.DataFrame) -> str:
    """A line that says so loudly when the runs are not the full protocol."""
    return "" if profile == "paper" else f"\n{profile_banner(profile, runs)}"
