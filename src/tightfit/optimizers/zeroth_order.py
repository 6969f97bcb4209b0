"""Zeroth-order steps: the loss at both ends of a random direction gives its slope there, and the weights move along it.

Here is what all such methods share: their hyperparameters, the loop over directions, and the slope. What a direction
is made of is a choice of its own (`optimizers.directions`), so is how slopes become a step (`optimizers.descents`), and
so is how the weights get to a probe and back (`numerics.noise.probes`).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import nn

from tightfit.numerics.noise.both_ends import BothEnds
from tightfit.numerics.noise.device_sweep import obstacle_to_device_sweep
from tightfit.numerics.noise.draws import Draws
from tightfit.numerics.noise.perturbation import Perturbation
from tightfit.numerics.noise.probes import InPlace, Restore, check_restore
from tightfit.numerics.noise.rounding import check_rounding
from tightfit.optimizers.base import Batch, Facts, Objective, Report, is_noted
from tightfit.optimizers.descents.descent import Descent
from tightfit.optimizers.descents.plain import PLAIN
from tightfit.optimizers.directions.direction import Direction
from tightfit.optimizers.directions.independent import GAUSSIAN
from tightfit.optimizers.phases import Phases
from tightfit.optimizers.schedules import Schedulable, check_each, check_positive, check_rate, value_at
from tightfit.optimizers.shared import Sharing
from tightfit.optimizers.suitability import check_moves
from tightfit.optimizers.weights_only import WeightsOnly

Values = tuple[float, float, float]  # the rate, eps and clip of a step


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
        check_queries(self.queries)
        check_rate("optimizer.lr", self.lr)
        check_each("optimizer.eps", self.eps, lambda value: 0 < value < math.inf, "more than 0 and finite")
        check_positive("optimizer.clip", self.clip)

    def facts(self) -> Facts:
        return Facts(2 * self.queries // self.direction.together, 0, self.queries, self.direction.noise)


@dataclass(frozen=True)
class ZerothOrder(TwoSided):
    """restore: how the weights return from a probe, merged with the update or exactly (see `numerics.noise.probes`);
    descent: how the slopes of a step become a move."""

    restore: Restore = "merged"
    descent: Descent = PLAIN

    def __post_init__(self) -> None:
        super().__post_init__()
        check_restore(self.restore)
        self.direction.check(self.queries, self.restore)
        self.descent.check(self.queries_at(0.0), self.direction)

    # Whether each step has as many directions.
    steady = True

    def queries_at(self, epoch: float) -> int:
        """How many directions a step has at `epoch`: at most `queries`."""
        return self.queries

    @property
    def sweeps(self) -> int:
        """Passes over the trained weights in a step: to the ends of its directions, and the update."""
        return self.sweeps_to_ends + self.descent.sweeps(self.queries, self.restore)

    @property
    def sweeps_to_ends(self) -> int:
        """To each end of a direction, or a copy for it; none of the weights moves where both are probed together."""
        return 2 * self.queries if self.direction.together == 1 else 0

    def facts(self) -> Facts:
        return replace(super().facts(), descent=self.descent.kind)


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
        check_moves(model, value_at(optimizer.eps, 0.0))
        check_rounding((parameter for _, parameter in parameters), value_at(optimizer.eps, 0.0))
        self._probe = optimizer.direction.probe(model, parameters, seed, optimizer.queries, optimizer.restore)
        self._descender = optimizer.descent.begin(parameters, optimizer.queries)
        self._sharing = Sharing()

    @property
    def queries(self) -> int:
        """The most directions of a step, those of all who share it."""
        return self._optimizer.queries

    def share(self, sharing: Sharing) -> None:
        """From now on share the directions of a step, and its examples, among workers.

        Raises ValueError for a method that tells them more than losses, or whose weights would differ among them.
        """
        if obstacle := self._obstacle_to_sharing:
            raise ValueError(f"distributed=zo shares losses alone, but {obstacle}")
        self._sharing = sharing

    @property
    def _obstacle_to_sharing(self) -> str:
        own_step = type(self).step is not ZerothOrderLearner.step
        if own_step or type(self)._losses_of_step is not ZerothOrderLearner._losses_of_step:
            return (
                "this method's steps are more than that; choose optimizer=mezo, or one of its directions and descents"
            )
        if self._optimizer.restore != "exact":
            return (
                "with restore=merged each worker rounds its weights by the directions it probed; choose "
                "optimizer.restore=exact"
            )
        if not self._optimizer.steady or self._optimizer.direction.slope_in_loss_type:
            return "here steps differ in directions, or slopes are no plain numbers; choose another optimizer.direction"
        return ""

    def step(self, batch: Batch) -> Report:
        lr, eps, clip = self.values_at(batch.epoch)
        losses = self._losses_of_step(batch, eps)
        with self.phases("update"):
            self._update(lr, slopes_of(losses, eps, clip), batch)
        return self.report_of(losses, eps, clip)

    _backward_passes = 0

    def values_at(self, epoch: float) -> Values:
        """The rate, eps and clip at `epoch`."""
        optimizer = self._optimizer
        return value_at(optimizer.lr, epoch), value_at(optimizer.eps, epoch), value_at(optimizer.clip, epoch)

    def report_of(self, losses: Sequence[float | torch.Tensor], eps: float, clip: float) -> Report:
        """The report of a step with these losses at both ends of each direction."""
        means = [(float(plus) + float(minus)) / 2 for plus, minus in pairs(losses)]
        scalars = {"slope": slopes_of(losses, eps, clip)[-1]}
        passes = len(losses) // self._optimizer.direction.together
        return Report(sum(means) / len(means), passes, self._backward_passes, scalars)

    @property
    def obstacle_to_capture(self) -> str:
        """Why no step can be captured in a graph (`optimizers.captured`); empty where it can."""
        if self._sharing.workers > 1:
            return "the losses of shared steps come from other processes"
        return self.obstacle_to_stacking

    @property
    def obstacle_to_stacking(self) -> str:
        """Why no step can be made for many runs at once (`run.stack`); empty where it can."""
        if not isinstance(self._probe, InPlace) or self._optimizer.descent != PLAIN:
            return "such steps move weights in place, by independent numbers, restore=merged and descent=plain"
        if not self._optimizer.steady:
            return "such steps have as many directions all along"
        return obstacle_to_device_sweep(self._probe.perturbation)

    # What of the model is backpropagated, and whether the passes at +eps and at −eps give its gradients.
    backpropagated: tuple[str, ...] = ()
    feeds = (False, False)

    def rate_of_backpropagated(self, epoch: float) -> float:
        return 0.0

    @property
    def model(self) -> nn.Module:
        """With weights that may be anywhere."""
        return self._model

    @property
    def objective(self) -> Objective:
        return self._objective

    def perturbation(self) -> Perturbation:
        """What moves the weights. Raises ValueError where they are not moved in place."""
        if not isinstance(self._probe, InPlace):
            raise ValueError(self.obstacle_to_stacking)
        return self._probe.perturbation

    def resting_model(self) -> nn.Module:
        self._probe.rest()
        return super().resting_model()

    def state_dict(self) -> dict[str, Any]:
        own = {"descent": self._descender.state_dict(), "directions": self._probe.state()}
        return {**super().state_dict(), **{name: state for name, state in own.items() if state}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._descender.load_state_dict(state.get("descent", {}))
        self._probe.load_state(state.get("directions", []))

    def _update(self, lr: float, slopes: list[float], batch: Batch) -> None:
        self._descender.step_(self._probe, lr, slopes, batch.step)

    def _losses_of_step(self, batch: Batch, eps: float) -> list[float | torch.Tensor]:
        """The losses at both ends of each direction of the step."""
        queries = self._optimizer.queries_at(batch.epoch)
        return self._sharing.losses(batch, queries, self._objective, lambda part, query: self._losses(part, eps, query))

    def _losses(self, batch: Batch, eps: float, query: int) -> Sequence[float | torch.Tensor]:
        """The losses at both ends of the direction of `query`."""
        if isinstance(self._probe, BothEnds):
            return self._losses_together(self._probe, batch, eps, query)
        return [self._loss(batch, scale, query) for scale in (eps, -eps)]

    @torch.no_grad()
    def _losses_together(self, probe: BothEnds, batch: Batch, eps: float, query: int) -> Sequence[float]:
        """The same by one pass over the batch twice."""

        @cache  # not before it is asked for: a log of losses that replays them needs no pass
        def logits() -> tuple[torch.Tensor, ...]:
            repeated = batch.inputs.repeat(2, *[1] * (batch.inputs.dim() - 1))
            with probe.both(eps, batch.step, query), self._draws.of(batch.step):
                return self._model(repeated).chunk(2)

        with self.phases("forward"):
            return [self._objective(lambda _, end=end: logits()[end], batch).item() for end in (0, 1)]

    @torch.no_grad()
    def _loss_at_rest(self, batch: Batch) -> float:
        with self.phases("perturb"):
            self._probe.rest()
        with self.phases("forward"), self._draws.of(batch.step):
            return self._objective(self._model, batch).item()

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


def check_passes(direction: Direction, method: str) -> None:
    """Raise ValueError where both ends of a direction share a pass, for a method that needs that at one end."""
    if direction.together > 1:
        raise ValueError(
            f"optimizer={method} needs the pass at one end of a direction, and probed=activations makes one for both; "
            "choose optimizer.direction.probed=weights, or optimizer=mezo"
        )


def pairs(losses: Sequence[Any]) -> zip[tuple[Any, Any]]:
    """The losses at both ends of each direction."""
    return zip(losses[::2], losses[1::2], strict=True)


def slopes_of(losses: Sequence[float | torch.Tensor], eps: float, clip: float) -> list[float]:
    return [clipped_slope(plus, minus, eps, clip) for plus, minus in pairs(losses)]


def clipped_slope(plus: float | torch.Tensor, minus: float | torch.Tensor, eps: float, clip: float) -> float:
    """(plus − minus) / 2 eps, the slope of the loss along the direction probed, bounded to [−clip, clip].

    Taken in the type of the losses: float64 for numbers, a tensor's own otherwise.
    A loss that is not a number stays so: the runner then ends the run as diverged.
    """
    return bounded(float((plus - minus) / (2 * eps)), clip)


def bounded(slope: float, clip: float) -> float:
    return slope if slope != slope else max(-clip, min(clip, slope))


def check_queries(queries: int) -> None:
    """Raise ValueError for a number of directions that makes no step."""
    if not isinstance(queries, int) or queries < 1:
        raise ValueError(f"queries={queries} but a step needs at least one direction; choose 1 or more")
