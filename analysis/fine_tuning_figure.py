"""Test accuracy by seconds of fine-tuning, a panel for each memory budget."""

from __future__ import annotations

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .curves import by_method, conditions, curve, draw
from .fine_tuning import ZERO_SHOT, Target, budgets_in, reason, target_of, within
from .load import Records
from .names import method, model_title, subject
from .style import RC, EndLabel, NoRecords, headline, label_line_ends, styled

BELOW_ZERO_SHOT = 0.15  # how far down the accuracy axis reaches: a new head starts at chance, which is of no interest


@matplotlib.rc_context(RC)
def fine_tuning_by_seconds(records: Records, profile: str = "paper") -> Figure:
    """Each method with the largest model and batch that fit; grey: zero-shot with its 95% interval.

    Raises NoRecords when no run had a budget.
    """
    budgets = budgets_in(records)
    if not budgets:
        raise NoRecords("no run had a memory budget; run make reproduce-on-device")
    figure = styled(height=1.45 + 3.1 * len(budgets))
    panels = figure.subplots(len(budgets), 1, squeeze=False, sharex=True, sharey=True).flatten()
    target = target_of(records)
    drawn = [panel(axes, within(records, budget), target) for axes, budget in zip(panels, budgets, strict=True)]
    for axes, budget in zip(panels, budgets, strict=True):
        axes.set(ylabel="test accuracy", title=budget)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlim(left=0)
        if target is not None:
            axes.set_ylim(bottom=max(axes.get_ylim()[0], target.zero_shot - BELOW_ZERO_SHOT))
    panels[-1].set_xlabel("seconds of training; evaluation does not count")
    headline(figure, f"What a memory budget buys: {subject(records.runs)}", reading(records, profile))
    for axes, (ends, absent) in zip(panels, drawn, strict=True):
        label_line_ends(axes, ends, absent)
    return figure


def panel(axes: Axes, records: Records, target: Target | None) -> tuple[list[EndLabel], str]:
    """Draw the methods that trained; returns the labels of their lines, and why others have none."""
    labels: list[EndLabel] = []
    absent: dict[str, None] = {}
    for row, part in by_method(records):
        others = part.runs[part.runs["status"] != "finished"].to_dict("records")
        absent |= dict.fromkeys(f"{method(row).title}: {reason(run).partition(' (')[0]}" for run in others)
        finished = part.only(part.runs["status"] == "finished")
        line = curve(finished, row, "train_seconds", "accuracy")
        if line is not None:
            model = ", ".join(map(model_title, dict.fromkeys(finished.runs["model"])))
            end = f"{method(row).title} {line.mean[-1]:.1%}"
            seeds = " (1 seed)" if line.seeds == 1 else ""
            labels.append(draw(axes, line, f"{end}{seeds}, {model}, batch {line.batch_size}"))
            scored = finished.evals
            marker = "." if method(row).marker == "o" else method(row).marker
            axes.plot(scored["train_seconds"], scored["accuracy"], marker, color=method(row).color, markersize=3)
    if target is not None:
        color = method(ZERO_SHOT).color
        axes.axhline(target.zero_shot, color=color, linestyle=(0, (4, 2)), linewidth=1.2)
        axes.axhspan(target.low, target.accuracy, color=color, alpha=0.12, linewidth=0)
        right = max((label.x for label in labels), default=1.0)
        labels.append(EndLabel(right, target.zero_shot, f"zero-shot {target.zero_shot:.1%}", color))
    return labels, "\n".join(absent)


def reading(records: Records, profile: str) -> str:
    """How to read the figure, what was run, and where."""
    return (
        "Each method trains the largest model that fits with the largest batch that fits. Labels: final accuracy.\n"
        f"Dots: single runs, when they are scored{scored_on(records)}. Grey: no training, with its 95% interval.\n"
        + conditions(records.runs, profile)
    )


def scored_on(records: Records) -> str:
    """On how many examples of the test set the course was scored."""
    counts = sorted(set(records.runs["split_examples"].dropna()))
    return f", on {' or '.join(f'{count:,}' for count in counts)} test sentences" if counts else ""
