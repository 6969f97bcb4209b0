"""MeZO: zeroth-order training with the memory of inference (Malladi et al., 2023; Full ZO in ElasticZO).

Two forward passes at weights moved by ±eps along a random direction z give the slope of the loss along it;
the weights then move along z in proportion. z is regenerated from its seed each time, never stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tightfit.clock import Phases
from tightfit.memory.breakdown import Breakdown
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerTable, output_bytes, parameter_bytes
from tightfit.numerics.perturbation import Perturbation
from tightfit.numerics.rounding import check_perturbation
from tightfit.optimizers.base import Batch, Learner, Objective, Report
from tightfit.schedules import Schedulable, value_at


@dataclass(frozen=True)
class MeZO:
    """lr: learning rate; eps: length of the perturbation; clip: bound on |slope|, which keeps training
    from scratch stable; queries: directions whose estimates are averaged in each step."""

    lr: Schedulable
    eps: Schedulable
    clip: Schedulable = float("inf")
    queries: int = 1
    name: str = "mezo"

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise ValueError(f"queries={self.queries} but a step needs at least one direction; choose 1 or more")

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """Exactly inference: parameters and activations. Source: ElasticZO, eq. 3."""
        return Breakdown(parameters=parameter_bytes(table.rows), activations=output_bytes(table.rows, batch_size))

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        return MeZOLearner(self, model, objective, seed)


class MeZOLearner:
    def __init__(self, optimizer: MeZO, model: nn.Module, objective: Objective, seed: int) -> None:
        self.phases = Phases()
        self._optimizer = optimizer
        self._model = model.requires_grad_(False)
        self._objective = objective
        trained = trained_parameters(model)
        check_perturbation((parameter for _, parameter in trained), value_at(optimizer.eps, 0.0))
        self._perturbation = Perturbation(trained, seed, optimizer.queries)

    @torch.no_grad()
    def step(self, batch: Batch) -> Report:
        optimizer, queries = self._optimizer, self._optimizer.queries
        lr, eps, clip = (value_at(h, batch.epoch) for h in (optimizer.lr, optimizer.eps, optimizer.clip))
        slopes, losses = [], []
        for query in range(queries):
            self._add_("perturb", eps, batch.step, query)
            plus = self._loss(batch)
            self._add_("perturb", -2 * eps, batch.step, query)
            minus = self._loss(batch)
            slopes.append(clipped_slope(plus, minus, eps, clip))
            losses.append((plus + minus) / 2)
            if query < queries - 1:  # all slopes are taken at the same weights
                self._add_("perturb", eps, batch.step, query)
        # The last restore is merged with its update: one sweep over the weights instead of two.
        self._add_("update", eps - lr * slopes[-1] / queries, batch.step, queries - 1)
        for query in range(queries - 1):
            self._add_("update", -lr * slopes[query] / queries, batch.step, query)
        return Report(sum(losses) / queries, 2 * queries, backward_passes=0, scalars={"slope": slopes[-1]})

    def _add_(self, phase: str, scale: float, step: int, query: int) -> None:
        with self.phases(phase):
            self._perturbation.add_(scale, step, query)

    def _loss(self, batch: Batch) -> float:
        with self.phases("forward"):
            return self._objective(self._model, batch).item()

    def resting_model(self) -> nn.Module:
        return self._model

    def state_dict(self) -> dict[str, Any]:
        return {"model": self._model.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._model.load_state_dict(state["model"])


def clipped_slope(plus: float, minus: float, eps: float, clip: float) -> float:
    """(plus − minus) / 2 eps, the slope of the loss along the direction probed, bounded to [−clip, clip].

    A loss that is not a number stays so: the runner then ends the run as diverged.
    """
    slope = (plus - minus) / (2 * eps)
    return slope if slope != slope else max(-clip, min(clip, slope))
