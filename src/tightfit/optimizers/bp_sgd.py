"""Full backpropagation with plain stochastic gradient descent: no momentum, no weight decay.

The baseline of ElasticZO (Full BP).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from tightfit.clock import Phases
from tightfit.memory.breakdown import Breakdown
from tightfit.memory.table import LayerTable, output_bytes, parameter_bytes, trained_bytes
from tightfit.numerics.rounding import within
from tightfit.optimizers.base import Batch, Learner, Objective, Report
from tightfit.optimizers.suitability import check_floats
from tightfit.optimizers.weights_only import WeightsOnly
from tightfit.schedules import Schedulable, check_rate, value_at


@dataclass(frozen=True)
class BPSGD:
    """lr: learning rate."""

    lr: Schedulable
    name: str = "bp_sgd"

    def __post_init__(self) -> None:
        check_rate("optimizer.lr", self.lr)

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """Parameters and activations, and a gradient or an error for each. Source: ElasticZO, eq. 2."""
        activations = output_bytes(table.rows, batch_size)
        return Breakdown(
            parameters=parameter_bytes(table.rows),
            gradients=trained_bytes(table.rows),
            activations=activations,
            errors=activations,
        )

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        check_floats(model, self.name)
        return BPSGDLearner(self, model, objective)


class BPSGDLearner(WeightsOnly):
    def __init__(self, optimizer: BPSGD, model: nn.Module, objective: Objective) -> None:
        self.phases = Phases()
        self._optimizer = optimizer
        self._model = model
        self._objective = objective

    def step(self, batch: Batch) -> Report:
        with self.phases("forward"):
            loss = self._objective(self._model, batch)
        with self.phases("backward"):
            loss.backward()
        with self.phases("update"):
            descend_(self._model, value_at(self._optimizer.lr, batch.epoch))
        return Report(loss.item(), forward_passes=1, backward_passes=1)


@torch.no_grad()
def descend_(model: nn.Module, lr: float) -> None:
    """Subtract lr × gradient from each parameter that has one, and free the gradient."""
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.add_(parameter.grad, alpha=within(-lr, parameter.dtype))
            parameter.grad = None
