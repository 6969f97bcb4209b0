"""ElasticZO: zeroth-order for the first layers, backpropagation for the last (Sugiura and Matsutani, 2025, Alg. 1).

The two perturbed forward passes that MeZO needs anyway also give the last layers their activations, so they
are trained by ordinary gradients for almost no extra memory and no third forward. The paper does not say
which of the two passes feeds the gradients; `bp_pass` is that choice. Both draw the same masks of dropout.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.cost import Cost, backward_work
from tightfit.memory.parts import trained_blocks, trained_parameters
from tightfit.memory.table import (
    LayerTable,
    check_layer_count,
    error_bytes,
    output_bytes,
    parameter_bytes,
    trained_bytes,
)
from tightfit.optimizers.base import Batch, Facts, Learner, Objective
from tightfit.optimizers.rules.rule import Rule
from tightfit.optimizers.rules.sgd import PLAIN, SGD
from tightfit.optimizers.schedules import Schedulable, check_rate, value_at
from tightfit.optimizers.suitability import check_floats
from tightfit.optimizers.zeroth_order import ZerothOrder, ZerothOrderLearner, check_passes

BPPass = Literal["minus", "plus", "mean"]


@dataclass(frozen=True)
class ElasticZO(ZerothOrder):
    """As ZerothOrder, for the first layers, with one direction a step. bp_layers: how many of the last layers with
    weights are backpropagated (0: none), by `rule` at the rate `bp_lr`; bp_pass: the perturbed pass whose activations
    give the gradients, or the mean over both."""

    bp_lr: Schedulable = field(kw_only=True)
    bp_layers: int = field(kw_only=True)
    bp_pass: BPPass = field(default="minus", kw_only=True)
    rule: Rule = field(default=PLAIN, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate("optimizer.bp_lr", self.bp_lr)
        if self.queries != 1:
            raise ValueError(f"queries={self.queries} but elastic_zo probes one direction a step; choose queries=1")
        check_passes(self.direction, "elastic_zo")
        if self.bp_pass not in ("minus", "plus", "mean"):
            raise ValueError(f"bp_pass={self.bp_pass!r} is not a pass; choose minus, plus or mean")

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """Inference, and for the last `bp_layers` layers with weights and all after them gradients, errors and the
        rule's state. What a direction holds to move the other weights counts as parameters too, and what a descent
        holds between steps comes on top.

        Raises ValueError when the model has fewer layers with weights. Source: ElasticZO, eq. 4.
        """
        tail = table.last(self.bp_layers)
        head = table.rows[: len(table.rows) - len(tail)]
        return Breakdown(
            parameters=parameter_bytes(table.rows) + self.direction.bytes_held(head, self.restore),
            activations=output_bytes(table.rows, batch_size),
            gradients=trained_bytes(tail),
            errors=error_bytes(tail, batch_size),
            optimizer_state=sum(self.rule.state_bytes(row) for row in tail) + self.descent.state_bytes(head),
        )

    def cost(self, table: LayerTable, batch_size: int) -> Cost:
        backward = backward_work(table, table.last(self.bp_layers))
        return Cost(2, backward * self.passes_with_gradients, self.sweeps)

    def facts(self) -> Facts:
        passes = self.passes_with_gradients
        return replace(super().facts(), backward_passes=passes, rule=self.rule.kind if passes else None)

    @property
    def passes_with_gradients(self) -> int:
        """How many of the two perturbed passes feed the gradients."""
        return (2 if self.bp_pass == "mean" else 1) if self.bp_layers else 0

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        return ElasticZOLearner(self, model, objective, seed)


Named = list[tuple[str, nn.Parameter]]


class ElasticZOLearner(ZerothOrderLearner):
    def __init__(self, optimizer: ElasticZO, model: nn.Module, objective: Objective, seed: int) -> None:
        check_floats(model, "elastic_zo")
        first, last = self._split(optimizer, model)
        super().__init__(optimizer, model, objective, first, seed)
        self._elastic = optimizer
        self._backward_passes = optimizer.passes_with_gradients
        of_last = {id(parameter) for _, parameter in last}
        self.undifferentiated = [p for p in model.parameters() if p.requires_grad and id(p) not in of_last]
        self._stepper = optimizer.rule.begin(last, seed)
        self.backpropagated = tuple(name for name, _ in last)
        self.feeds = (optimizer.bp_pass != "minus", optimizer.bp_pass != "plus")

    def _split(self, optimizer: ElasticZO, model: nn.Module) -> tuple[Named, Named]:
        """What moves along directions, and what is backpropagated."""
        return split_at(model, optimizer.bp_layers)

    def _loss(self, batch: Batch, scale: float, query: int) -> float | torch.Tensor:
        """As in ZerothOrderLearner; where this pass feeds BP, its gradients are added to those kept."""
        optimizer = self._elastic
        if not self._backward_passes or optimizer.bp_pass == ("minus" if scale > 0 else "plus"):
            return super()._loss(batch, scale, query)
        with self._moved(batch, scale, query), without_gradients(self.undifferentiated):
            loss = self._objective(self._model, batch)
        with self.phases("backward"):
            loss.backward()
        return loss.detach() if optimizer.direction.slope_in_loss_type else loss.item()

    def _update(self, lr: float, slopes: list[float], batch: Batch) -> None:
        super()._update(lr, slopes, batch)
        self._stepper.step_(self.rate_of_backpropagated(batch.epoch))

    @property
    def obstacle_to_capture(self) -> str:
        if self._elastic.bp_layers:
            return "the host steps the rule of the layers that are backpropagated"
        return super().obstacle_to_capture

    @property
    def obstacle_to_stacking(self) -> str:
        if self._elastic.bp_layers and not isinstance(self._elastic.rule, SGD):
            return "plain SGD alone steps backpropagated layers of many runs at once"
        return super().obstacle_to_stacking

    def rate_of_backpropagated(self, epoch: float) -> float:
        """As far as each pass that feeds gradients moves them."""
        return value_at(self._elastic.bp_lr, epoch) / max(1, self._elastic.passes_with_gradients)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "rule": self._stepper.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._stepper.load_state_dict(state["rule"])


def split_at(model: nn.Module, bp_layers: int) -> tuple[Named, Named]:
    """The trained parameters before the last `bp_layers` layers with weights, and those in them.

    Raises ValueError when the model has fewer layers with weights, or no blocks to count.
    """
    if bp_layers == 0:
        return trained_parameters(model), []
    blocks = list(trained_blocks(model).values())
    check_layer_count(bp_layers, len(blocks), type(model).__name__)
    of_last = {id(p) for block in blocks[len(blocks) - bp_layers :] for p in block}
    first, last = [], []
    for name, parameter in trained_parameters(model):
        (last if id(parameter) in of_last else first).append((name, parameter))
    return first, last


@contextmanager
def without_gradients(parameters: list[nn.Parameter]) -> Generator[None]:
    """Inside, `parameters` require no gradients: autograd keeps nothing of them, which is where memory is saved."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
