"""What a step is made of: its memory by kind, its time by phase."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .curves import profile_note
from .load import MEMORY_KINDS, PHASES, Records, latest
from .names import arithmetic_title, in_order, meanings, mebibytes, method, subject
from .palette import GREY, KIND_COLORS, PHASE_COLORS
from .style import RC, NoRecords, headline, styled
from .tables import machine

LEAST_LABELLED_SHARE = 0.045  # narrower segments have no room for their number
PAPER_ROW = "paper, Full ZO to Cls1\n(Raspberry Pi Zero 2)"


@matplotlib.rc_context(RC)
def memory_breakdown(runs: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Bytes of a training step by kind, a panel for each batch size, with the measured peak: ElasticZO's Figures 4–6.

    Raises NoRecords when no run recorded its memory.
    """
    runs = latest(runs[runs["total_bytes"].notna() & runs["cell_row"].notna()], ["cell_row", "batch_size"])
    if runs.empty:
        raise NoRecords("no memory was recorded; run python -m tightfit.reproduce elasticzo/memory")
    batch_sizes = sorted(set(runs["batch_size"].astype(int)))
    figure = styled(height=1.5 + 2.5 * len(batch_sizes))
    for axes, batch_size in zip(figure.subplots(len(batch_sizes), squeeze=False)[:, 0], batch_sizes, strict=True):
        memory_panel(axes, runs[runs["batch_size"] == batch_size], published, batch_size)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, spaced(names), loc="outside lower center", ncols=len(names), frameon=False)
    headline(
        figure,
        f"Memory of a training step: {subject(runs)}",
        "Bars: every buffer counted as live at once (the paper's convention).\n"
        "Black mark: measured peak of live tensor bytes, and its ratio to the bar.\n" + meanings(runs["cell_row"]),
    )
    return figure


def memory_panel(axes: Axes, runs: pd.DataFrame, published: pd.DataFrame, batch_size: int) -> None:
    """A stacked bar for each method; beside it the sum, the published value, the measured peak and its ratio."""
    rows = in_order(set(runs["cell_row"]))
    by_row = runs.set_index("cell_row").loc[rows]
    stacked_bars(axes, pd.DataFrame({kind: by_row[f"{kind}_bytes"] / 2**20 for kind in MEMORY_KINDS}), KIND_COLORS)
    longest = float(max(by_row["total_bytes"].max(), by_row["measured_peak_bytes"].fillna(0).max())) / 2**20
    inference = by_row["total_bytes"].get("full_zo")
    for place, (row, run) in enumerate(by_row.iterrows()):
        text = memory_text(str(row), run, inference, published, batch_size)
        measured = run["measured_peak_bytes"]
        if not pd.isna(measured):
            peak = measured / 2**20
            axes.plot([peak, peak], [place - 0.42, place + 0.42], color="black", linewidth=2.6, solid_capstyle="butt")
            text += f"\nmeasured {mebibytes(measured)}, ×{measured / run['total_bytes']:.2f}"
        right = max(run["total_bytes"], 0 if pd.isna(measured) else measured) / 2**20
        beside_bar(axes, right, place, text)
    method_rows(axes, [method(row).title for row in rows], [method(row).color for row in rows])
    axes.set(title=f"batch {batch_size}", xlabel="MiB", xlim=(0, 1.42 * longest))


def memory_text(row: str, run: pd.Series, inference: float | None, published: pd.DataFrame, batch_size: int) -> str:
    """The sum beside the paper's; for the methods between, what they need beyond Full ZO, as the paper gives it."""
    text = mebibytes(run["total_bytes"])
    kinds = ("total", "over_full_zo", "overhead", "times_full_zo")
    total, beyond, percent, times = (find(published, row, f"{kind}_b{batch_size}") for kind in kinds)
    if total is not None:
        text += f" (paper {total:.1f})"
    if inference is None:
        return text
    if beyond is not None:
        text += f" = Full ZO + {(run['total_bytes'] - inference) / 2**10:.1f} KiB (paper {beyond:.1f})"
    elif percent is not None:
        text += f" = Full ZO + {100 * (run['total_bytes'] / inference - 1):.2g}% (paper {percent:g})"
    elif times is not None:
        text += f" = {run['total_bytes'] / inference:.2f} × Full ZO (paper {times:g})"
    return text


@matplotlib.rc_context(RC)
def step_time(records: Records, published: pd.DataFrame, profile: str = "paper") -> Figure:
    """Milliseconds of a training step by phase, and the shares beside the paper's: the counterpart of its Figure 7.

    Raises NoRecords when no run recorded its phases.
    """
    runs = step_milliseconds(records.runs)
    if runs.empty:
        raise NoRecords("no step times were recorded; run make reproduce-step-time")
    steps = typical(runs)
    rows = list(steps.index)
    figure = styled(height=2.0 + 0.54 * (len(rows) + 1))
    absolute, relative = figure.subplots(1, 2, sharey=True, width_ratios=(1.15, 1))
    stacked_bars(absolute, steps, PHASE_COLORS)
    totals = steps.sum(axis="columns")
    for place, row in enumerate(rows):
        ratio = totals[row] / steps.loc[row, "forward"]
        text = f"{totals[row]:.3g} ms{spread_text(runs.loc[[row]])}\n{ratio:.2f} × its forward time"
        beside_bar(absolute, float(totals[row]), place, text)
    shares = steps.div(totals, axis="index") * 100
    shares = pd.concat([shares, paper_shares(published)])[list(PHASE_COLORS)].fillna(0.0)
    stacked_bars(relative, shares, PHASE_COLORS)
    label_shares(relative, shares, published)
    absolute.set(xlabel="milliseconds per step", xlim=(0, 1.5 * totals.max()))
    relative.set(xlabel="share of the step (%)", xlim=(0, 100))
    relative.tick_params(axis="y", length=0)
    unpublished = list(shares.index[len(rows) :])
    if unpublished:
        absolute.text(0, len(rows), " seconds are not published", va="center", color=GREY, style="italic")
    colors = [method(row).color for row in rows] + [GREY] * len(unpublished)
    method_rows(absolute, [*(method(row).title for row in rows), *unpublished], colors)
    handles, names = relative.get_legend_handles_labels()
    figure.legend(handles, spaced(names), loc="outside lower center", ncols=len(names), frameon=False)
    headline(figure, f"Where a step's time goes: {subject(of_column(records.runs))}", time_note(records.runs, profile))
    return figure


def by_arithmetic(records: Records) -> Records:
    """The same with a row for each method in each arithmetic, such as "Full ZO, INT8"."""
    runs = records.runs.dropna(subset="cell_row")
    pairs = zip(runs["cell_row"], runs["method.arithmetic"], strict=True)
    rows = [f"{method(row).title}, {arithmetic_title(arithmetic)}" for row, arithmetic in pairs]
    return Records(runs.assign(cell_row=rows, cell_column="all"), records.evals)


def of_column(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs on MNIST, as in the paper's figure; all of them where there are none."""
    mnist = runs[runs["dataset"] == "mnist"]
    return runs if mnist.empty else mnist


def step_milliseconds(runs: pd.DataFrame) -> pd.DataFrame:
    """Milliseconds per step by phase (columns), a row for each run, by its method; `other` is in no phase."""
    runs = of_column(runs)
    runs = runs[runs["cell_row"].notna() & runs["forward_seconds"].notna() & (runs["steps"].fillna(0) > 0)]
    runs = latest(runs, ["cell_row", "cell_column", "seed"]).set_index("cell_row")
    table = pd.DataFrame({phase: runs[f"{phase}_seconds"].fillna(0.0).astype(float) for phase in PHASES})
    table["other"] = (runs["train_seconds"].astype(float) - table.sum(axis="columns")).clip(lower=0.0)
    return table.div(runs["steps"].astype(float), axis="index") * 1000


def typical(runs: pd.DataFrame) -> pd.DataFrame:
    """Of each method the run whose step takes the median time: one that was disturbed has no say."""
    found = {}
    for row in in_order(set(runs.index)):
        by_total = runs.loc[[row]].iloc[runs.loc[[row]].sum(axis="columns").argsort()]
        found[row] = by_total.iloc[(len(by_total) - 1) // 2]
    return pd.DataFrame(found).T


def spread_text(runs: pd.DataFrame) -> str:
    """The fastest and the slowest of several runs of a method."""
    totals = runs.sum(axis="columns")
    return f" ({totals.min():.3g}–{totals.max():.3g}, {len(totals)} runs)" if len(totals) > 1 else ""


def paper_shares(published: pd.DataFrame) -> pd.DataFrame:
    """The published shares in per cent as one more row, each the middle of its published range; empty without them."""
    phases = ("forward", "backward", "perturb_and_update")
    shares = {phase: middle for phase in phases if (middle := middle_of(published, phase)) is not None}
    if not shares:
        return pd.DataFrame(columns=[*PHASES, "perturb_and_update", "other"], dtype=float)
    return pd.DataFrame({**shares, "other": 100 - sum(shares.values())}, index=[PAPER_ROW])


def middle_of(published: pd.DataFrame, phase: str) -> float | None:
    low, high = (find(published, phase, f"fp32_{end}") for end in ("low", "high"))
    return None if low is None or high is None else (low + high) / 2


def label_shares(axes: Axes, shares: pd.DataFrame, published: pd.DataFrame) -> None:
    """Write each share into its segment where it has room; the paper's as the ranges they are."""
    lefts = shares.cumsum(axis="columns").shift(1, axis="columns", fill_value=0.0)
    for place, row in enumerate(shares.index):
        for phase in map(str, shares):
            share = float(shares.iloc[place][phase])
            if share < 100 * LEAST_LABELLED_SHARE:
                continue
            text = f"{share:.0f}"
            if row == PAPER_ROW and phase != "other":
                low, high = (find(published, phase, f"fp32_{end}") for end in ("low", "high"))
                text = f"{low:g}–{high:g}" if share > 20 else f"{low:g}–\n{high:g}"
            axes.text(lefts.iloc[place][phase] + share / 2, place, text, ha="center", va="center", fontsize=9)


def time_note(runs: pd.DataFrame, profile: str) -> str:
    chosen = of_column(runs)
    machines = dict.fromkeys(map(machine, chosen.dropna(subset="cpu").to_dict("records")))
    batches = "/".join(str(size) for size in sorted(set(chosen["batch_size"].dropna())))
    how = f"batch {batches}; a zeroth-order step makes two forward passes."
    bars = "\nA bar: the run with the median step." if runs.groupby("cell_row")["seed"].nunique().max() > 1 else ""
    meaning = f"\n{meanings(chosen['cell_row'].dropna())}"
    return f"{'; '.join(machines)}, {how}{bars}{meaning}{profile_note(profile, runs)}"


def stacked_bars(axes: Axes, table: pd.DataFrame, colors: dict[str, str]) -> None:
    """A horizontal bar per row of `table`, of its columns in turn; a column of zeros is left out."""
    lefts = np.zeros(len(table))
    for name in map(str, table):
        widths = table[name].to_numpy(float)
        if not widths.any():
            continue
        bars = axes.barh(np.arange(len(table)), widths, left=lefts, height=0.66, color=colors[name], label=name)
        for bar in bars:
            bar.set(edgecolor="white", linewidth=0.5)
        lefts = lefts + widths


def beside_bar(axes: Axes, end: float, place: int, text: str) -> None:
    """Write `text` right of the bar at `place` that ends at `end`, over the grid."""
    room = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
    where: dict[str, Any] = {"xy": (end, place), "xytext": (6, 0), "textcoords": "offset points"}
    axes.annotate(text, **where, va="center", fontsize=9.5, linespacing=1.15, bbox=room)


def spaced(names: list[str]) -> list[str]:
    return [name.replace("_", " ") for name in names]


def method_rows(axes: Axes, titles: list[str], colors: list[str]) -> None:
    """Name the places of a bar chart by method, first on top, each in its colour."""
    axes.set_yticks(range(len(titles)), titles)
    axes.set_ylim(len(titles) - 0.45, -0.55)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    for label, color in zip(axes.get_yticklabels(), colors, strict=True):
        label.set(color=color, fontweight="bold")


def find(published: pd.DataFrame, row: str, column: str) -> float | None:
    """The published value of a cell, or None."""
    value = published.loc[(published["row"] == row) & (published["column"] == column), "value"].dropna()
    return float(value.iloc[0]) if len(value) else None
