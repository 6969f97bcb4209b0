"""What one run is about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeGuard, get_args

import torch
from torch import nn

from tightfit.datasets.dataset import Dataset
from tightfit.memory.budget import MemoryBudget
from tightfit.memory.table import LayerTable, layer_table
from tightfit.optimizers.base import Optimizer
from tightfit.optimizers.captured import Capture
from tightfit.run.metrics import METRICS

LARGEST = "largest"
Keep = Literal["weights", "best", "losses"]


@dataclass(frozen=True)
class Training:
    """How long and how finely to train.

    epochs: length of the full protocol; schedules are written in these.
    fraction: the part of it that is run, with all schedules, and `seconds`, compressed alike.
    batch_size: examples per step, or "largest": the largest that the budget allows, at most `batch_limit`.
    evaluations: how many, evenly spread; one more comes before the first step. Fewer are made where `seconds` may end
        the run and these would take more than a fifth of its training time.
    seconds: stop after this much training time; None trains all epochs.
    keep: what checkpoints and the end of the run leave on the disk: weights; the weights of the best evaluation, by
        `metric` on validation examples; or losses, from which runs that only use forward passes are rebuilt (others
        keep weights all the same).
    metric: which evaluation is the best; accuracy (also None), macro_f1 or matthews. All are recorded.
    capture: whether steps are captured in graphs and replayed, with the same bits: auto is on CUDA, where the method
        allows it; always is everywhere, and refuses a method that does not.
    """

    epochs: float
    fraction: float = 1.0
    batch_size: int | str = 32
    batch_limit: int = 256
    evaluations: int = 100
    seconds: float | None = None
    keep: Keep = "weights"
    metric: str | None = None
    capture: Capture = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "fraction"):
            check_amount(name, getattr(self, name))
        if self.seconds is not None:
            check_amount("seconds", self.seconds, or_else=", or null for no limit")
        for name in ("evaluations", "batch_limit"):
            check_count(name, getattr(self, name))
        if self.batch_size != LARGEST:
            check_count("batch_size", self.batch_size, or_else=f", or {LARGEST}")
        if self.keep not in get_args(Keep):
            raise ValueError(
                f"training.keep={self.keep!r} is nothing that a run leaves; choose weights, best or losses"
            )
        if self.metric not in (None, *METRICS):
            raise ValueError(f"training.metric={self.metric!r} is not known; choose {', '.join(METRICS)}")
        if self.capture not in get_args(Capture):
            raise ValueError(f"training.capture={self.capture!r} is no way to step; choose auto, never or always")

    @property
    def chosen_by(self) -> str:
        """The metric by which evaluations are compared."""
        return self.metric or METRICS[0]

    @property
    def most_seconds(self) -> float:
        """Training time at which a run ends even if steps are left."""
        return math.inf if self.seconds is None else self.seconds * self.fraction

    def steps(self, steps_per_epoch: int) -> int:
        return max(1, round(self.epochs * self.fraction * steps_per_epoch))


def check_amount(name: str, value: object, or_else: str = "") -> None:
    """Raise ValueError unless `value` is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, float | int) or not 0 < value < math.inf:
        raise ValueError(f"training.{name}={value!r} is no amount of training; write a number above 0{or_else}")


def is_whole(value: object) -> TypeGuard[int]:
    """Whether `value` is a whole number; true and false, which Python counts as 1 and 0, are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_count(name: str, value: object, or_else: str = "") -> None:
    """Raise ValueError unless `value` is a whole number from 1."""
    if not is_whole(value) or value < 1:
        raise ValueError(f"training.{name}={value!r} counts nothing; write a whole number from 1{or_else}")


@dataclass(frozen=True)
class Task:
    """Everything one run is about."""

    optimizer: Optimizer
    model: nn.Module
    dataset: Dataset
    budget: MemoryBudget
    training: Training
    seed: int
    device: torch.device
    workers: int = 1  # that share each step, with a batch of `training.batch_size` each

    @cached_property
    def table(self) -> LayerTable:
        """The model's operations on the data set's examples. Raises ValueError when it cannot take them."""
        shape = self.dataset.example_shape
        try:
            return layer_table(self.model, shape)
        except Exception as error:  # whatever a forward pass raises, which may be a user's own
            raise ValueError(
                f"model {type(self.model).__name__} cannot take the examples of dataset={self.dataset.name}, "
                f"{' × '.join(map(str, shape))} each ({first_line(error)}); choose two that match"
            ) from error


def first_line(error: BaseException) -> str:
    """The kind of `error` and the beginning of what it says."""
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no more is said'])[0]}"
