"""Hyperparameters that change during training.

Any numeric hyperparameter of any optimizer may be a plain number or a schedule. A schedule reads the epoch
*of the full protocol*: a run shortened to 8 of 100 epochs passes through the same values, faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    def __call__(self, epoch: float) -> float: ...


Schedulable = float | Schedule


def value_at(hyperparameter: Schedulable, epoch: float) -> float:
    """The value of `hyperparameter` at `epoch`."""
    return hyperparameter if isinstance(hyperparameter, float | int) else hyperparameter(epoch)


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
