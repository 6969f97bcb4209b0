"""The report's pictures as SVG. The page's style says what their colours are, so that they suit light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ..names import MOST_FREQUENT
from ..palette import GREY
from ..render.html import attribute, words
from ..style import RC, spread
from .axes import Axis

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 62, 200, 14, 50  # margins; words stand to the right
TEXT = 18  # between two lines of it
MOST_LABELS = 18  # that fit beside a picture
POINTS = 80  # of a line, which are as many as can be seen
Place = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A course with its band, and what it is called."""

    name: str
    color: str
    dash: str
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Point:
    """One result; `told` is said where it is pointed at."""

    name: str
    color: str
    x: float
    y: float
    low: float
    high: float
    told: str
    is_faint: bool = False


def tone(color: str) -> str:
    """How a picture names `color`; the page's style says what it is in light and in dark."""
    return f"var(--c{color.lstrip('#').lower()},{color})"


def curves(lines: Sequence[Line], x: Axis, y: Axis, title: str, levels: Sequence[float] = ()) -> str:
    """Courses with bands, each called by name where it ends. levels: what the most frequent class alone reaches."""
    drawn = []
    for line in lines:
        kept = np.unique(np.linspace(0, len(line.x) - 1, POINTS).round().astype(int))
        on = [at(x, y, value, mean) for value, mean in zip(line.x[kept], line.mean[kept], strict=True)]
        band = [at(x, y, value, low) for value, low in zip(line.x[kept], line.low[kept], strict=True)]
        band += [at(x, y, value, high) for value, high in zip(line.x[kept][::-1], line.high[kept][::-1], strict=True)]
        dash = ' stroke-dasharray="6 4"' if line.dash == "--" else ""
        told = f"<title>{words(line.name)}</title>"
        if (line.high > line.low).any():
            drawn.append(f'<path class="band" style="fill:{tone(line.color)}" d="{path(band)}Z"/>')
        drawn.append(f'<path class="line" style="stroke:{tone(line.color)}"{dash} d="{path(on)}">{told}</path>')
        drawn.append(dot(on[-1], line.color, 3.5))
    ends = [(line.name, line.color, at(x, y, line.x[-1], line.mean[-1])) for line in lines]
    for level in levels:
        left, right = at(x, y, x.low, level), (float(WIDTH - RIGHT), at(x, y, x.high, level)[1])
        drawn.append(f'<path class="level" style="stroke:{tone(GREY)}" d="M{pair(left)}H{right[0]:.1f}"/>')
        ends.append((f"{MOST_FREQUENT} {level:.1%}", GREY, right))
    return picture([*frame(x, y), *drawn, *labels(ends)], title)


def points(results: Sequence[Point], front: Sequence[Point], x: Axis, y: Axis, title: str) -> str:
    """Results with their intervals, and the steps of the front, above which there is none."""
    drawn = []
    places = [at(x, y, point.x, point.y) for point in front]
    if places:
        steps = [f"M{pair(places[0])}", *(f"H{right:.1f}V{up:.1f}" for right, up in places[1:])]
        drawn.append(f'<path class="front" d="{"".join(steps)}H{WIDTH - RIGHT}"/>')
    for point in results:
        here, low, high = (at(x, y, point.x, value) for value in (point.y, point.low, point.high))
        bar = f'<path class="bar" style="stroke:{tone(point.color)}" d="M{pair(low)}V{high[1]:.1f}"/>'
        kind = ' class="faint"' if point.is_faint else ""
        drawn.append(f"<g{kind}><title>{words(point.told)}</title>{bar}{dot(here, point.color, 5)}</g>")
    named = {point.name: point for point in sorted(results, key=lambda point: not point.is_faint)}
    ends = [(point.name, point.color, at(x, y, point.x, point.y)) for point in named.values() if not point.is_faint]
    return picture([*frame(x, y), *drawn, *labels(ends)], title)


def at(x: Axis, y: Axis, right: float, up: float) -> Place:
    high = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y.place(up)
    return LEFT + (WIDTH - LEFT - RIGHT) * x.place(right), min(max(high, TOP), HEIGHT - BOTTOM)


def pair(place: Place) -> str:
    return f"{place[0]:.1f} {place[1]:.1f}"


def path(places: Sequence[Place]) -> str:
    return "M" + "L".join(map(pair, places))


def dot(place: Place, color: str, radius: float) -> str:
    return f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="{radius}" style="fill:{tone(color)}"/>'


def frame(x: Axis, y: Axis) -> list[str]:
    """Grid, ticks and what the axes say."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    below, beside = f'x="{(LEFT + right) / 2}" y="{HEIGHT - 8}"', f"translate(14 {(TOP + bottom) / 2}) rotate(-90)"
    parts = [
        f'<text class="axis" {below} text-anchor="middle">{words(x.label)}</text>',
        f'<text class="axis" transform="{beside}" text-anchor="middle">{words(y.label)}</text>',
    ]
    for tick in x.ticks:
        place = LEFT + (right - LEFT) * x.place(tick)
        parts.append(f'<path class="grid" d="M{place:.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text x="{place:.1f}" y="{bottom + 18}" text-anchor="middle">{words(x.written(tick))}</text>')
    for tick in y.ticks:
        place = bottom - (bottom - TOP) * y.place(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {place:.1f}H{right}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{place + 4:.1f}" text-anchor="end">{words(y.written(tick))}</text>')
    return parts


def labels(ends: Sequence[tuple[str, str, Place]]) -> list[str]:
    """Names to the right, each as near to its place as the others let it be; none where there are too many to read."""
    if len(ends) > MOST_LABELS:
        return []
    room = HEIGHT - TOP - TEXT / 2
    heights = spread([1 - (place[1] - TOP) / room for _, _, place in ends], TEXT / room)
    parts = []
    for (name, color, place), height in zip(ends, heights, strict=True):
        up, left = TOP + room * (1 - height), WIDTH - RIGHT + 16
        leader = f"M{place[0] + 5:.1f} {place[1]:.1f}L{left - 3} {up:.1f}"
        parts.append(f'<path class="leader" style="stroke:{tone(color)}" d="{leader}"/>')
        parts.append(f'<text x="{left}" y="{up + 4:.1f}" style="fill:{tone(color)}">{words(name)}</text>')
    return parts


def picture(parts: Sequence[str], title: str) -> str:
    return (
        f'<div class="picture"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{attribute(title)}">'
        f"{''.join(parts)}</svg></div>"
    )


def inlined(figure: Figure, name: str) -> str:
    """A figure of `make figures` for the page: with the style's colours, and with ids that no other one has."""
    file = io.StringIO()
    with matplotlib.rc_context(RC):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    drawn = file.getvalue()
    drawn = re.sub(
        r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", drawn[drawn.index("<svg") :], flags=re.DOTALL
    )
    drawn = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", drawn)
    drawn = re.sub(r"(?<=[:\s])#[0-9a-f]{6}\b", lambda color: tone(color[0]), drawn)
    return f'<div class="picture drawn" role="img" aria-label="{attribute(name.replace("_", " "))}">{drawn}</div>'
