"""Hyperparameters that change during training.

Any numeric hyperparameter of any optimizer may be a plain number or a schedule. A schedule reads the epoch
*of the full protocol*: a run shortened to 8 of 100 epochs passes through the same values, faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol


class Schedule(Protocol):
    def __call__(self, epoch: float) -> float: ...


Schedulable = float | Schedule

# What YAML calls these numbers; from a command line they come as text.
SPELLED = {".inf": math.inf, "inf": math.inf, "-.inf": -math.inf, "-inf": -math.inf, ".nan": math.nan, "nan": math.nan}

MOST_PERIODS = 1e300  # of which there is a whole number, as there is none of infinity


def value_at(hyperparameter: Schedulable | str, epoch: float) -> float:
    """The value of `hyperparameter` at `epoch`."""
    if isinstance(hyperparameter, str):
        return SPELLED[hyperparameter.lower().removeprefix("+")]
    return hyperparameter if isinstance(hyperparameter, float | int) else hyperparameter(epoch)


def is_number(value: object) -> bool:
    return isinstance(value, float | int) or (isinstance(value, str) and value.lower().removeprefix("+") in SPELLED)


def check_each(name: str, hyperparameter: Schedulable, rule: Callable[[float], bool], words: str) -> None:
    """Raise ValueError unless `rule`, which is `words`, holds for a number, or for what a schedule begins with and
    each value that a piecewise one names."""
    values = hyperparameter.values if isinstance(hyperparameter, Piecewise) else (hyperparameter,)
    for value in values:
        if not callable(value) and not is_number(value):
            raise ValueError(f"{name}={value!r} is neither a number nor a schedule; write a number")
        if not rule(value_at(value, 0.0)):
            raise ValueError(f"{name}={value_at(value, 0.0)} is not {words}; choose a number that is")


def check_positive(name: str, hyperparameter: Schedulable) -> None:
    check_each(name, hyperparameter, lambda value: value > 0, "more than 0")


def check_rate(name: str, hyperparameter: Schedulable) -> None:
    """Raise ValueError for a learning rate that leads nowhere or uphill; 0 stands still and is allowed."""
    check_each(name, hyperparameter, lambda value: 0 <= value < math.inf, "a finite number from 0")


@dataclass(frozen=True)
class StepDecay:
    """`initial`, multiplied by `factor` once every `every_epochs`."""

    initial: float
    factor: float
    every_epochs: float

    def __post_init__(self) -> None:
        check_each("StepDecay.initial", self.initial, lambda value: value >= 0, "a number from 0")
        check_each("StepDecay.factor", self.factor, lambda value: 0 <= value < math.inf, "a finite number from 0")
        check_positive("StepDecay.every_epochs", self.every_epochs)
        for field in fields(self):
            object.__setattr__(self, field.name, value_at(getattr(self, field.name), 0.0))

    def __call__(self, epoch: float) -> float:
        try:
            return self.initial * self.factor ** (min(epoch / self.every_epochs, MOST_PERIODS) // 1)
        except OverflowError:  # of a factor above 1
            return math.inf


@dataclass(frozen=True)
class Power:
    """`factor` times the epoch to the power `power`: from 0 on."""

    factor: float
    power: float

    def __post_init__(self) -> None:
        check_positive("Power.factor", self.factor)
        check_each("Power.power", self.power, lambda value: 0 <= value < math.inf, "a finite number from 0")

    def __call__(self, epoch: float) -> float:
        return self.factor * epoch**self.power


@dataclass(frozen=True)
class Piecewise:
    """`values[i]` from epoch `starts[i]` on; `starts` begins with 0 and increases."""

    values: tuple[float, ...]
    starts: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.values) != len(self.starts) or not self.starts or self.starts[0] != 0:
            raise ValueError(f"values={list(self.values)} starts={list(self.starts)}: one start per value, the first 0")
        if list(self.starts) != sorted(set(self.starts)):
            raise ValueError(f"starts={list(self.starts)} must increase")

    def __call__(self, epoch: float) -> float:
        value = next(
            value for value, start in reversed(list(zip(self.values, self.starts, strict=True))) if epoch >= start
        )
        return value_at(value, epoch)
