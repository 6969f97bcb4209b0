"""Backpropagation: any update rule, any policy of keeping activations.

With plain gradient descent and all activations kept this is the baseline of ElasticZO (Full BP).
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.cost import Cost, backward_work
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerTable, error_bytes, output_bytes, parameter_bytes, trained_bytes
from tightfit.optimizers.activations.activations import Activations
from tightfit.optimizers.activations.kept import KEPT
from tightfit.optimizers.base import Batch, Facts, Learner, Objective, Report
from tightfit.optimizers.fused_backward import FusedBackward
from tightfit.optimizers.phases import Phases
from tightfit.optimizers.rules.rule import Rule
from tightfit.optimizers.schedules import Schedulable, check_rate, value_at
from tightfit.optimizers.suitability import check_floats


@dataclass(frozen=True)
class Backprop:
    """lr: learning rate; rule: how a gradient becomes a step; activations: what autograd keeps; fused_backward: whether
    weights are stepped within the backward pass, null for no."""

    lr: Schedulable
    rule: Rule
    activations: Activations = KEPT
    fused_backward: bool | None = None

    def __post_init__(self) -> None:
        check_rate("optimizer.lr", self.lr)

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """Parameters, activations, a gradient or an error for each, and the rule's state; within a backward pass that
        steps, the largest gradient alone. Source: ElasticZO, eq. 2.

        What is frozen has no gradients, and no errors where nothing before it is trained.
        """
        kept = Breakdown(
            parameters=parameter_bytes(table.rows),
            gradients=largest_gradient_bytes(table) if self.fused_backward else trained_bytes(table.rows),
            activations=output_bytes(table.rows, batch_size),
            errors=error_bytes(table.backpropagated(), batch_size),
            optimizer_state=sum(self.rule.state_bytes(row) for row in table.rows),
        )
        return self.activations.memory(kept, table, batch_size)

    def cost(self, table: LayerTable, batch_size: int) -> Cost:
        return Cost(self.activations.forward_passes, backward_work(table, table.backpropagated()))

    @property
    def unfused(self) -> Backprop:
        """The same, with all gradients at once."""
        return replace(self, fused_backward=None)

    def facts(self) -> Facts:
        return Facts(self.activations.forward_passes, 1, rule=self.rule.kind, activations=self.activations.kind)

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        check_floats(model, "bp")
        return BackpropLearner(self, model, objective, seed)


class BackpropLearner:
    def __init__(self, optimizer: Backprop, model: nn.Module, objective: Objective, seed: int) -> None:
        self.phases = Phases()
        self._optimizer = optimizer
        self._model = model
        self._objective = objective
        self._keeper = optimizer.activations.prepare(model, self.phases, seed)
        trained = trained_parameters(model)
        self._fused = FusedBackward(optimizer.rule, trained, seed, self.phases) if optimizer.fused_backward else None
        self._stepper = self._fused or optimizer.rule.begin(trained, seed)

    def step(self, batch: Batch) -> Report:
        lr = value_at(self._optimizer.lr, batch.epoch)
        with self._keeper.around(batch):
            with self.phases("forward"):
                loss = self._objective(self._model, batch)
            with self.phases("backward"), self._fused.stepping(lr) if self._fused else nullcontext():
                loss.backward()
        with self.phases("update"):
            self._stepper.step_(lr)
        return Report(loss.item(), self._optimizer.activations.forward_passes, backward_passes=1)

    def resting_model(self) -> nn.Module:
        return self._model

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self._model.state_dict(),
            "rule": self._stepper.state_dict(),
            "activations": self._keeper.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
        self._stepper.load_state_dict(state["rule"])
        self._keeper.load_state_dict(state.get("activations", {}))  # not in what was saved before policies had any


def largest_gradient_bytes(table: LayerTable) -> int:
    """Bytes of the largest tensor that methods change."""
    sizes = (math.prod(shape) * row.bytes_per_parameter for row in table.rows for shape in row.shapes)
    return max(sizes, default=0)
