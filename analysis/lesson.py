"""The picture at the end of `make demo`: what three methods learn in the same seconds, and what they hold meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tightfit.records.record import RunRecord, read_evals, read_run

from .palette import COLORS, GREY, KIND_COLORS, Family
from .style import RC, EndLabel, NoRecords, headline, label_line_ends, save, styled

MIB = 2**20
FAMILIES: dict[str, Family] = {"bp_sgd": "backprop", "elastic_zo": "hybrid_one_layer", "mezo": "zeroth_order"}


@dataclass(frozen=True)
class Shown:
    """A run that trained, by what the reader is to call it."""

    called: str
    record: RunRecord
    rows: list[dict[str, Any]]

    @property
    def color(self) -> str:
        return COLORS[FAMILIES.get(self.record.config["optimizer"]["name"], "none")]

    @property
    def accuracy(self) -> list[float]:
        return [100 * row[f"{self.record.dataset['scored']}_accuracy"] for row in self.rows]


def write_lesson(folders: Mapping[str, Path], stem: Path) -> list[Path]:
    """Draw the runs in `folders`, by what they are to be called, to `stem`.png and .svg.

    Raises NoRecords where none of them trained.
    """
    with matplotlib.rc_context(RC):
        return save(lesson(folders), stem)


def lesson(folders: Mapping[str, Path]) -> Figure:
    """Accuracy by seconds of training on the left, the peak of memory on the right."""
    read = {called: (read_run(folder), read_evals(folder)) for called, folder in folders.items()}
    runs = [Shown(called, record, rows) for called, (record, rows) in read.items() if record and len(rows) > 1]
    if not runs:
        raise NoRecords("none of the runs trained; see run.json in " + ", ".join(map(str, folders.values())))
    figure = styled(height=4.6)
    learned, held = figure.subplots(1, 2, width_ratios=(3, 2))
    headline(figure, f"One network, {len(runs)} ways to train it, in the same time", explanation(runs))
    labels = [draw_curve(learned, run) for run in runs]
    first = runs[0].record
    baseline = 100 * first.dataset["majority_accuracy"]
    learned.axhline(baseline, color=GREY, linewidth=0.9, linestyle=":")
    end = max(row["train_seconds"] for run in runs for row in run.rows)
    labels.append(EndLabel(end, baseline, f"one answer for all {baseline:.0f} %", GREY))
    learned.set(ylim=(0, 100), xlabel="seconds of training", title=f"{first.dataset['scored']} accuracy, %")
    learned.set_xlim(left=0)
    draw_memory(held, runs)
    label_line_ends(learned, labels)
    return figure


def explanation(runs: list[Shown]) -> str:
    first = runs[0].record
    scored = sum(first.dataset["scored_counts"])
    return (
        f"{first.config['model']['name']} on {first.config['dataset']['name']}, batch {first.memory['batch_size']}, "
        f"one seed, {scored:,} {first.dataset['scored']} examples. Left: higher is better; the dotted line is what\n"
        "always giving the most frequent answer reaches. Right: shorter is better; what keeps no activations for a "
        "backward pass holds less."
    )


def draw_curve(axes: Axes, run: Shown) -> EndLabel:
    seconds = [row["train_seconds"] for row in run.rows]
    axes.plot(seconds, run.accuracy, color=run.color, label=run.called)
    axes.plot(seconds[-1], run.accuracy[-1], "o", color=run.color, markersize=4)
    return EndLabel(seconds[-1], run.accuracy[-1], f"{run.called} {run.accuracy[-1]:.0f} %", run.color)


def draw_memory(axes: Axes, runs: list[Shown]) -> None:
    """The measured peak of a step, in which the parameters themselves are told apart."""
    places = range(len(runs))
    peaks = [run.record.memory["measured_peak_bytes"] / MIB for run in runs]
    weights = [run.record.memory["analytic"]["parameters"] / MIB for run in runs]
    axes.barh(places, peaks, color=[run.color for run in runs], height=0.55)
    axes.barh(places, weights, color=KIND_COLORS["parameters"], height=0.55)
    for place, peak in zip(places, peaks, strict=True):
        axes.text(peak, place, f" {peak:.2f} MiB", va="center", color=GREY)
    axes.set_yticks(list(places), [f"{run.called}\n{run.rows[-1]['step']:,} steps" for run in runs])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.35 * max(peaks)), xlabel="MiB (grey: the weights)", title="peak memory of a step")
    axes.grid(visible=False, axis="y")
