"""Hyperparameters that change during training.

Any numeric hyperparameter of any optimizer may be a plain number or a schedule. A schedule reads the epoch
*of the full protocol*: a run shortened to 8 of 100 epochs passes through the same values, faster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    def __call__(self, epoch: float) -> float: ...


Schedulable = float | Schedule


def value_at(hyperparameter: Schedulable, epoch: float) -> float:
    """The value of `hyperparameter` at `epoch`."""
    return hyperparameter if isinstance(hyperparameter, float | int) else hyperparameter(epoch)


def check_each(name: str, hyperparameter: Schedulable, rule: Callable[[float], bool], words: str) -> None:
    """Raise ValueError unless `rule`, which is `words`, holds for a number, or for what a schedule begins with and
    each value that a piecewise one names."""
    if not callable(hyperparameter) and not isinstance(hyperparameter, float | int):
        raise ValueError(f"{name}={hyperparameter!r} is neither a number nor a schedule; write a number")
    values = hyperparameter.values if isinstance(hyperparameter, Piecewise) else (value_at(hyperparameter, 0.0),)
    for value in values:
        if not rule(value):
            raise ValueError(f"{name}={value} is not {words}; choose a number that is")


def check_positive(name: str, hyperparameter: Schedulable) -> None:
    check_each(name, hyperparameter, lambda value: value > 0, "more than 0")


@dataclass(frozen=True)
class StepDecay:
    """`initial`, multiplied by `factor` once every `every_epochs`."""

    initial: float
    factor: float
    every_epochs: float

    def __call__(self, epoch: float) -> float:
        return self.initial * self.factor ** int(epoch / self.every_epochs)


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
        return next(
            value for value, start in reversed(list(zip(self.values, self.starts, strict=True))) if epoch >= start
        )
