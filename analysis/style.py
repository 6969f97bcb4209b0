"""How figures look: readable at README width, labels on the lines instead of legends, nothing that is not data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.transforms import ScaledTranslation

from .palette import GREY

WIDTH_INCHES = 10.0
DOTS_PER_INCH = 160  # 1600 pixels wide: sharp where a README shows it at half that
LEADER: dict[str, Any] = {
    "arrowstyle": "-",
    "alpha": 0.45,
    "linewidth": 0.8,
    "shrinkA": 1,
    "shrinkB": 2,
    "relpos": (0, 0.5),  # from the middle of a label's left edge, so that it crosses no other label
}
RC: dict[Any, Any] = {
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "lines.linewidth": 1.8,
    "svg.hashsalt": "tightfit",  # the same figure is the same file
    "svg.fonttype": "none",
}


class NoRecords(LookupError):
    """There is nothing to draw; the message says what to run."""


@dataclass(frozen=True)
class EndLabel:
    """The words at the end of a line; x and y are where the line ends, in data coordinates."""

    x: float
    y: float
    text: str
    color: str


def styled(height: float) -> Figure:
    """An empty figure of README width and `height` inches."""
    return Figure(figsize=(WIDTH_INCHES, height), dpi=DOTS_PER_INCH)


def headline(figure: Figure, title: str, explanation: str) -> None:
    """A title that says what is seen, below it how to read it, and the panels arranged in the room that is left.

    explanation: lines, of which those that say nothing are left out.
    """
    explanation = "\n".join(within_width(line) for line in explanation.split("\n") if line)
    lines = explanation.count("\n") + 1
    height = figure.get_figheight()
    figure.suptitle(title, x=0.008, y=1 - 0.06 / height, ha="left", va="top", fontsize=14, fontweight="bold")
    figure.text(0.008, 1 - 0.36 / height, explanation, ha="left", va="top", color=GREY, linespacing=1.3, wrap=False)
    room = 1 - (0.44 + 0.19 * lines) / height
    figure.set_layout_engine("constrained", rect=(0, 0, 1, room), w_pad=0.06, h_pad=0.05, wspace=0.03, hspace=0.05)


def within_width(line: str) -> str:
    """`line` in as many lines as it needs to stay within the figure."""
    room, size = 0.98 * WIDTH_INCHES * 72, FontProperties(size=RC["font.size"])  # points
    lines = [""]
    for word in line.split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if TextPath((0, 0), longer, prop=size).get_extents().width > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def label_line_ends(axes: Axes, labels: Sequence[EndLabel], note: str = "") -> None:
    """Write `labels` to the right of `axes`, each by its line's end but none over another, and `note` below them.

    Call it when the limits of `axes` are final: a label is placed by where the line ends on the page.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    box = axes.get_window_extent()
    size = matplotlib.rcParams["font.size"] - 0.5
    gap = size * 1.25 / (box.height * 72 / figure.dpi)
    beside = axes.transAxes + ScaledTranslation(16 / 72, 0, figure.dpi_scale_trans)
    axes.text(1, 0, note, transform=beside, va="bottom", color=GREY, fontsize=size - 0.5, style="italic")
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = [to_axes.transform((label.x, label.y))[1] for label in labels]
    below = gap * (note.count("\n") + 1.5) if note else 0.0
    for label, place in zip(labels, spread(ends, gap, lowest=below), strict=True):
        axes.annotate(
            label.text,
            xy=(label.x, label.y),
            xytext=(1, place),
            textcoords=beside,
            color=label.color,
            fontsize=size,
            va="center",
            annotation_clip=False,
            arrowprops={**LEADER, "color": label.color},
        )


def spread(wanted: Sequence[float], gap: float, lowest: float = 0.0) -> list[float]:
    """Places in [lowest, 1] at least `gap` apart, in the order of `wanted` and as near to it as squares can tell.

    Least squares under an order is isotonic regression, solved by pooling neighbours that are out of order.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    pools: list[tuple[float, int]] = []  # mean and size
    for rank, index in enumerate(order):
        mean, size = wanted[index] - rank * gap, 1
        while pools and pools[-1][0] > mean:
            before, count = pools.pop()
            mean, size = (mean * size + before * count) / (size + count), size + count
        pools.append((mean, size))
    highest = max(lowest, 1 - (len(wanted) - 1) * gap)
    bases = [min(max(mean, lowest), highest) for mean, size in pools for _ in range(size)]
    places = [0.0] * len(wanted)
    for rank, (index, base) in enumerate(zip(order, bases, strict=True)):
        places[index] = base + rank * gap
    return places


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write the figure as `stem`.png and `stem`.svg; the same figure gives the same bytes."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_suffix(suffix) for suffix in (".png", ".svg")]
    with matplotlib.rc_context(RC):
        figure.savefig(paths[0], metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None, "Creator": None})
    return paths
