"""The axes of the report's own pictures: linear, logarithmic, or logit, which gives 90–99% the room of 50–90%."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..curves import ACCURACIES

Kind = Literal["linear", "log", "logit"]
LEAST, MOST = 1e-4, 1 - 1e-4  # shares beyond have no place on a logit axis
TURNED: Mapping[Kind, Callable[[float], float]] = {
    "linear": float,
    "log": lambda value: math.log(max(value, 1e-12)),
    "logit": lambda share: math.log(min(max(share, LEAST), MOST) / (1 - min(max(share, LEAST), MOST))),
}
MARGIN = 0.04  # of the length of an axis, at both of its ends
LEAST_TICKS, MOST_TICKS = 4, 11
DECADE = 10  # a logarithmic axis that is shorter has the ticks of a linear one


@dataclass(frozen=True)
class Axis:
    """Places values of a range on a length of 1."""

    label: str
    kind: Kind
    low: float
    high: float
    written: Callable[[float], str] = "{:g}".format

    def place(self, value: float) -> float:
        turned = TURNED[self.kind]
        low, high = turned(self.low), turned(self.high)
        return MARGIN + (1 - 2 * MARGIN) * (turned(value) - low) / (high - low)

    @property
    def ticks(self) -> list[float]:
        """Round values within the axis, few enough to be read."""
        found = [value for value in self.round_values() if 0 <= self.place(value) <= 1]
        return found[:: math.ceil(len(found) / MOST_TICKS)] if found else [self.low, self.high]

    def round_values(self) -> Sequence[float]:
        if self.kind == "logit" and sum(self.low <= value <= self.high for value in ACCURACIES) >= LEAST_TICKS:
            return ACCURACIES
        if self.kind == "log" and self.high / self.low > DECADE:
            powers = range(math.floor(math.log10(self.low)) - 1, math.ceil(math.log10(self.high)) + 1)
            digits = (1,) if math.log10(self.high / self.low) > 3 else (1, 2, 5)
            return [digit * 10.0**power for power in powers for digit in digits]
        step = round_step((self.high - self.low) / 5)
        return [step * number for number in range(math.floor(self.low / step), math.ceil(self.high / step) + 1)]


def round_step(about: float) -> float:
    """1, 2 or 5 times a power of ten, from `about` up."""
    power = 10.0 ** math.floor(math.log10(about))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= about * (1 - 1e-9))


def axis(label: str, kind: Kind, values: Iterable[float], written: Callable[[float], str] = "{:g}".format) -> Axis:
    """The axis that holds all finite `values`; of a logarithmic one those above 0."""
    known = [value for value in values if math.isfinite(value) and (kind != "log" or value > 0)]
    low, high = (min(known), max(known)) if known else (1.0, 2.0)
    if kind == "logit":
        low, high = max(low, LEAST), min(high, MOST)
    if TURNED[kind](high) - TURNED[kind](low) < 1e-9:  # one value stands in the middle
        low, high = (low * 0.9, high * 1.1) if kind == "log" else (low - 0.05, high + 0.05)
    return Axis(label, kind, low, high, written)
