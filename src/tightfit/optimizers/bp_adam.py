"""Full backpropagation with Adam (Kingma and Ba, 2015), no weight decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tightfit.clock import Phases
from tightfit.memory.breakdown import Breakdown
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerTable, output_bytes, parameter_bytes, trained_bytes
from tightfit.numerics.rounding import within
from tightfit.optimizers.base import Batch, Learner, Objective, Report
from tightfit.optimizers.suitability import check_floats
from tightfit.schedules import Schedulable, check_each, check_rate, value_at


@dataclass(frozen=True)
class BPAdam:
    """lr: learning rate; beta1, beta2: decay of the two moments; eps: added to the root of the second."""

    lr: Schedulable
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    name: str = "bp_adam"

    def __post_init__(self) -> None:
        check_rate("optimizer.lr", self.lr)
        for name in ("beta1", "beta2"):
            check_each(f"optimizer.{name}", getattr(self, name), lambda decay: 0 <= decay < 1, "from 0 to less than 1")
        check_rate("optimizer.eps", self.eps)

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """As plain gradient descent, and two moments per trained parameter. Source: ElasticZO, eq. 5."""
        trained, activations = trained_bytes(table.rows), output_bytes(table.rows, batch_size)
        return Breakdown(
            parameters=parameter_bytes(table.rows),
            gradients=trained,
            activations=activations,
            errors=activations,
            optimizer_state=2 * trained,
        )

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        check_floats(model, self.name)
        return BPAdamLearner(self, model, objective)


class BPAdamLearner:
    def __init__(self, optimizer: BPAdam, model: nn.Module, objective: Objective) -> None:
        self.phases = Phases()
        self._optimizer = optimizer
        self._model = model
        self._objective = objective
        trained = [parameter for _, parameter in trained_parameters(model)]
        betas = (optimizer.beta1, optimizer.beta2)
        self._adam = torch.optim.Adam(trained, lr=0.0, betas=betas, eps=optimizer.eps)

    def step(self, batch: Batch) -> Report:
        with self.phases("forward"):
            loss = self._objective(self._model, batch)
        with self.phases("backward"):
            loss.backward()
        with self.phases("update"):
            for group in self._adam.param_groups:
                group["lr"] = within(value_at(self._optimizer.lr, batch.epoch), group["params"][0].dtype)
            self._adam.step()
            self._adam.zero_grad(set_to_none=True)
        return Report(loss.item(), forward_passes=1, backward_passes=1)

    def resting_model(self) -> nn.Module:
        return self._model

    def state_dict(self) -> dict[str, Any]:
        return {"model": self._model.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
        self._adam.load_state_dict(state["adam"])
