"""Forward gradient: the exact slope along a random direction, by one pass (Baydin et al., 2022).

The weights move against the derivative of the loss along z, as in MeZO, but the derivative is computed beside the loss
instead of taken from two losses: it is the limit of MeZO's slope as eps goes to 0. There is no eps, and the weights
are at rest all the time. A pass does about three times the arithmetic of inference, and holds z for one layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.cost import Cost
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerTable, largest_trained_bytes, output_bytes, parameter_bytes
from tightfit.numerics.noise.draws import Draws
from tightfit.numerics.noise.tangents import Tangents, loss_and_slope
from tightfit.optimizers.base import Batch, Facts, Learner, Objective, Report, is_noted, note, without_notes
from tightfit.optimizers.directions.independent import GAUSSIAN, Independent
from tightfit.optimizers.phases import Phases
from tightfit.optimizers.schedules import Schedulable, check_positive, check_rate, value_at
from tightfit.optimizers.suitability import check_floats, check_smooth
from tightfit.optimizers.weights_only import WeightsOnly
from tightfit.optimizers.zeroth_order import bounded, check_queries

# Products of a layer on dual numbers: of the inputs, of their tangent, and of the tangent of the weights.
PRODUCTS = 3


@dataclass(frozen=True)
class ForwardGradient:
    """lr: learning rate; clip: bound on |slope|; queries: directions whose estimates are averaged in each step;
    direction: what they are made of, rounded to the type of the weights."""

    lr: Schedulable
    clip: Schedulable = float("inf")
    queries: int = 1
    direction: Independent = GAUSSIAN  # others move weights, and say no tangent of them

    def __post_init__(self) -> None:
        check_queries(self.queries)
        check_rate("optimizer.lr", self.lr)
        check_positive("optimizer.clip", self.clip)
        if not isinstance(self.direction, Independent):
            raise ValueError(
                "forward_gradient differentiates along independent numbers alone; choose direction=gaussian"
            )

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """Inference, with a tangent of each activation, and z for the largest layer."""
        return Breakdown(
            parameters=parameter_bytes(table.rows) + largest_trained_bytes(table.rows),
            activations=2 * output_bytes(table.rows, batch_size),
        )

    def cost(self, table: LayerTable, batch_size: int) -> Cost:
        """A sweep draws the tangent, another makes the update."""
        return Cost(forward=PRODUCTS * self.queries, sweeps=2 * self.queries)

    def facts(self) -> Facts:
        return Facts(self.queries, 0, self.queries, self.direction.noise)

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        check_floats(model, "forward_gradient")
        check_smooth(model, "forward_gradient")
        return ForwardGradientLearner(self, model, objective, seed)


class ForwardGradientLearner(WeightsOnly):
    def __init__(self, optimizer: ForwardGradient, model: nn.Module, objective: Objective, seed: int) -> None:
        self.phases = Phases()
        self._optimizer = optimizer
        self._model = model
        self._objective = objective
        self._draws = Draws(model, seed)
        parameters = trained_parameters(model)
        self.undifferentiated = [parameter for _, parameter in parameters]
        self._perturbation = optimizer.direction.perturbation(parameters, seed, optimizer.queries)
        self._tangents = Tangents(model, self._perturbation)

    def step(self, batch: Batch) -> Report:
        optimizer = self._optimizer
        lr, clip = value_at(optimizer.lr, batch.epoch), value_at(optimizer.clip, batch.epoch)
        pairs = [self._loss_and_slope(batch, query) for query in range(optimizer.queries)]
        losses, slopes = [loss for loss, _ in pairs], [bounded(slope, clip) for _, slope in pairs]
        with self.phases("update"):
            for query, slope in enumerate(slopes):
                self._move(-lr * slope / optimizer.queries, batch.step, query)
        return Report(sum(losses) / len(losses), len(losses), 0, {"slope": slopes[-1]})

    def _loss_and_slope(self, batch: Batch, query: int) -> tuple[float, float]:
        """Both are noted: a log of losses alone would not give the steps again."""
        if is_noted(self._objective):
            return self._objective(self._model, batch).item(), self._objective(self._model, batch).item()
        with self.phases("forward"), self._draws.of(batch.step), self._tangents.along(batch.step, query):
            pair = loss_and_slope(without_notes(self._objective)(self._model, batch))
        note(self._objective, pair)
        return pair

    @torch.no_grad()
    def _move(self, scale: float, step: int, query: int) -> None:
        if scale:  # adding zeros would turn −0 into 0
            self._perturbation.add_(scale, step, query, stochastically=True)
