"""Zeroth-order steps: the loss at both ends of a random direction gives its slope there, and the weights move along it.

Here is what all such methods share: their hyperparameters, the loop over directions, and the slope. What a direction
is made of is a choice of its own (`optimizers.directions`), and so is how the weights get to a probe and back
(`numerics.noise.probes`).
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from tightfit.numerics.noise.draws import Draws
from tightfit.numerics.noise.probes import Restore, check_restore
from tightfit.numerics.noise.rounding import check_rounding
from tightfit.optimizers.base import Batch, Facts, Objective, Report, is_noted
from tightfit.optimizers.directions.direction import Direction
from tightfit.optimizers.directions.independent import GAUSSIAN
from tightfit.optimizers.phases import Phases
from tightfit.optimizers.schedules import Schedulable, check_each, check_positive, check_rate, value_at
from tightfit.optimizers.weights_only import WeightsOnly


@dataclass(frozen=True)
class TwoSided:
    """lr: learning rate; eps: length of a perturbation; clip: bound on |slope|, which keeps training from scratch
    stable; queries: directions whose estimates are averaged in each step; direction: what they are made of.

    Parameters that do not require gradients when a model is bound stay as they are. All passes of a step draw the same
    masks of dropout (see `numerics.noise.draws`)."""

    lr: Schedulable
    eps: Schedulable
    clip: Schedulable = float("inf")
    queries: int = 1
    direction: Direction = GAUSSIAN

    def __post_init__(self) -> None:
        if not isinstance(self.queries, int) or self.queries < 1:
            raise ValueError(f"queries={self.queries} but a step needs at least one direction; choose 1 or more")
        check_rate("optimizer.lr", self.lr)
        check_each("optimizer.eps", self.eps, lambda value: 0 < value < math.inf, "more than 0 and finite")
        check_positive("optimizer.clip", self.clip)

    def facts(self) -> Facts:
        return Facts(2 * self.queries, 0, self.queries, self.direction.noise)


@dataclass(frozen=True)
class ZerothOrder(TwoSided):
    """restore: how the weights return from a probe, merged with the update or exactly (see `numerics.noise.probes`)."""

    restore: Restore = "merged"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_restore(self.restore)
        self.direction.check(self.queries, self.restore)

    @property
    def sweeps(self) -> int:
        """Passes over the trained weights in a step. Exactly: a copy for each end of a direction, and its update.
        Merged: to each end of a direction; all else is done on the way (see `numerics.noise.probes`)."""
        return 3 * self.queries if self.restore == "exact" else 2 * self.queries


class ZerothOrderLearner(WeightsOnly):
    """Takes two losses a direction, all at the same weights, and moves against each slope."""

    def __init__(
        self,
        optimizer: ZerothOrder,
        model: nn.Module,
        objective: Objective,
        parameters: list[tuple[str, nn.Parameter]],
        seed: int,
    ) -> None:
        self.phases = Phases()
        self._optimizer = optimizer
        self._model = model
        self._objective = objective
        self._draws = Draws(model, seed)
        self.undifferentiated = [parameter for _, parameter in parameters]
        check_rounding((parameter for _, parameter in parameters), value_at(optimizer.eps, 0.0))
        self._probe = optimizer.direction.probe(model, parameters, seed, optimizer.queries, optimizer.restore)

    def step(self, batch: Batch) -> Report:
        optimizer, queries = self._optimizer, self._optimizer.queries
        lr, eps, clip = (value_at(h, batch.epoch) for h in (optimizer.lr, optimizer.eps, optimizer.clip))
        slopes, losses = [], []
        for query in range(queries):
            plus = self._loss(batch, eps, query)
            minus = self._loss(batch, -eps, query)
            slopes.append(clipped_slope(plus, minus, eps, clip))
            losses.append((float(plus) + float(minus)) / 2)
        with self.phases("update"):
            self._update(lr, slopes, batch)
        return Report(sum(losses) / queries, 2 * queries, self._backward_passes, scalars={"slope": slopes[-1]})

    _backward_passes = 0

    def resting_model(self) -> nn.Module:
        self._probe.rest()
        return super().resting_model()

    def _update(self, lr: float, slopes: list[float], batch: Batch) -> None:
        last = len(slopes) - 1
        for query in [last, *range(last)]:  # first the last: on the way back from its probe
            self._probe.update_(lr, slopes[query], batch.step, query)

    @torch.no_grad()
    def _loss(self, batch: Batch, scale: float, query: int) -> float | torch.Tensor:
        """The loss at weights moved by `scale` along the direction of `query`, as the direction takes its slope."""
        with self._moved(batch, scale, query):
            loss = self._objective(self._model, batch)
            return loss if self._optimizer.direction.slope_in_loss_type else loss.item()

    @contextmanager
    def _moved(self, batch: Batch, scale: float, query: int) -> Generator[None]:
        """Inside, where the phase is that of the forward pass, the model computes at the moved weights."""
        with self.phases("perturb"):
            moved = self._probe.at(scale, batch.step, query, without_pass=is_noted(self._objective))
        with self.phases("forward"), moved, self._draws.of(batch.step):
            yield


def clipped_slope(plus: float | torch.Tensor, minus: float | torch.Tensor, eps: float, clip: float) -> float:
    """(plus − minus) / 2 eps, the slope of the loss along the direction probed, bounded to [−clip, clip].

    Taken in the type of the losses: float64 for numbers, a tensor's own otherwise.
    A loss that is not a number stays so: the runner then ends the run as diverged.
    """
    slope = float((plus - minus) / (2 * eps))
    return slope if slope != slope else max(-clip, min(clip, slope))
