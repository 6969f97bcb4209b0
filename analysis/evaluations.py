"""Evaluations of many runs, a number in 8 bytes: a million rows as dictionaries would take gigabytes."""

from __future__ import annotations

import functools
import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

SCORED = ("accuracy", "loss")  # columns that are of whichever split was scored
MOST_EXAMPLES = 100_000
DISTINCT = 2**18  # accuracies whose fraction is kept; a test set of n examples has n + 1


class Evaluations:
    """The evaluations of runs, added one run at a time, as columns."""

    def __init__(self, columns: Iterable[str]) -> None:
        """columns: all but the key of the run, in order; their values are numbers, or missing."""
        self.keys: list[str] = []
        self.counts: list[int] = []
        self.columns = {name: array("d") for name in columns}

    def add(self, key: str, scored: Mapping[str, Sequence[float | None]]) -> None:
        """Add a run's values of all columns. Raises TypeError for one that is no number; then nothing is added."""
        new = {name: numbers(scored[name]) for name in self.columns}
        self.keys.append(key)
        self.counts.append(len(scored["accuracy"]))
        for name, values in new.items():
            self.columns[name].extend(values)

    def table(self, types: Mapping[str, str]) -> pd.DataFrame:
        """A row for each evaluation. Its columns have `types`, of which the first is the key's."""
        key = next(iter(types))
        numbers = {name: np.frombuffer(column) for name, column in self.columns.items()}
        keys = np.repeat(np.array(self.keys, dtype=object), self.counts)
        return pd.DataFrame({key: keys, **numbers}).astype(dict(types))


def numbers(values: Sequence[float | None]) -> array:
    return array("d", [math.nan if value is None else value for value in values])


def scores(rows: Sequence[Mapping[str, Any]], split: str) -> dict[str, list[Any]]:
    """`rows` as columns, with the accuracy and loss of `split`. Raises KeyError where what every row has is missing."""
    always = {name: [row[name] for row in rows] for name in ("step", "epoch", "train_seconds", "train_loss")}
    sometimes = {name: [row.get(name) for row in rows] for name in ("sign_agreement", "sign_ties", "forward_passes")}
    scored = {name: [row[f"{split}_{name}"] for row in rows] for name in SCORED}
    return {**always, **sometimes, **scored}


def examples_behind(accuracies: Sequence[float]) -> int | None:
    """The least number of examples of which every accuracy is a whole part; None when nothing was scored.

    Records of images do not say how many examples were scored. Over many evaluations this finds it; over few it may
    find a divisor of it, which makes an interval wider, never narrower.
    """
    return math.lcm(*map(part_of, set(accuracies))) if len(accuracies) else None


@functools.lru_cache(DISTINCT)
def part_of(accuracy: float) -> int:
    """The denominator of `accuracy` as the nearest fraction of few examples."""
    return Fraction(accuracy).limit_denominator(MOST_EXAMPLES).denominator
