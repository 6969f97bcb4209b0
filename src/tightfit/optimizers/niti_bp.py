"""Full backpropagation in integers (NITI, Wang et al., 2022; Full BP in ElasticZO's INT8 columns).

Errors and gradients are int8 and int32. There is no learning rate: an update keeps the sign and relative size of
a gradient in `bits` bits, so that one bit less halves the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.cost import Cost, backward_work
from tightfit.memory.integer import integer_memory
from tightfit.memory.table import LayerTable, check_layer_count
from tightfit.numerics.int8.arithmetic import Number, clipped_add_, update_of
from tightfit.numerics.int8.loss import logits_gradient
from tightfit.numerics.noise.counter_noise import keys_for
from tightfit.optimizers.base import Batch, Facts, Learner, Objective, Report
from tightfit.optimizers.phases import Phases
from tightfit.optimizers.schedules import Schedulable, check_each, value_at
from tightfit.optimizers.suitability import check_integers
from tightfit.optimizers.weights_only import WeightsOnly

NITI = "niti"  # the rule: an update keeps the sign and relative size of a gradient


@dataclass(frozen=True)
class NITIBP:
    """bits: width of an update."""

    bits: Schedulable

    def __post_init__(self) -> None:
        check_bits("optimizer.bits", self.bits)

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """Every int8 tensor, and an int32 accumulator beside each product. Source: ElasticZO, eq. 13."""
        return integer_memory(table, batch_size, table.weight_layers)

    def cost(self, table: LayerTable, batch_size: int) -> Cost:
        return Cost(1, backward_work(table, table.rows))

    def facts(self) -> Facts:
        return Facts(1, 1, rule=NITI)

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        check_integers(model, "niti_bp")
        return NITIBPLearner(self, model, objective, seed)


class NITIBPLearner(WeightsOnly):
    def __init__(self, optimizer: NITIBP, model: nn.Module, objective: Objective, seed: int) -> None:
        self.phases = Phases()
        self._optimizer = optimizer
        self._model = model
        self._objective = objective
        self._backward = IntegerBackward(model, bp_layers=len(weight_positions(model)), seed=seed)

    def step(self, batch: Batch) -> Report:
        kept: list[torch.Tensor] = []
        with self.phases("forward"):
            logits = self._model(batch.inputs, kept)
            loss = self._objective(lambda _: logits, batch).item()
        with self.phases("backward"):
            self._backward.train_(logits, kept, batch, int(value_at(self._optimizer.bits, batch.epoch)))
        return Report(loss, forward_passes=1, backward_passes=1)


class IntegerBackward:
    """The backward of the last `bp_layers` layers with weights of a sequence of int8 layers, merged with its update.

    Raises ValueError when the model has fewer.
    """

    def __init__(self, model: nn.Module, bp_layers: int, seed: int) -> None:
        positions = weight_positions(model)
        check_layer_count(bp_layers, len(positions), type(model).__name__)
        layers: list[Any] = list(model.children())
        self.first = positions[-bp_layers] if bp_layers else len(layers)
        self._layers = layers[self.first :]
        self._keys = keys_for("logits", seed, "rounding of the logits' gradient")

    def train_(self, logits: Number, kept: list[torch.Tensor], batch: Batch, bits: int) -> None:
        """Update the layers; `kept` holds what went into each of them, and is emptied."""
        error = logits_gradient(logits, batch.labels, self._keys.of(batch.step))
        for layer in reversed(self._layers):
            values = kept.pop()
            # The error goes down through the weights as they were before their update.
            sent_down = layer.backward(values, error) if kept else None
            if hasattr(layer, "weight"):
                clipped_add_(layer.weight.data, update_of(layer.weight_gradient(values, error), bits), -1)
            if sent_down is not None:
                error = sent_down


def check_bits(name: str, bits: Schedulable) -> None:
    """Raise ValueError for a width that an int8 update cannot have."""
    check_each(name, bits, lambda width: width in range(1, 8), "a whole number from 1 to 7")


def weight_positions(model: nn.Module) -> list[int]:
    """Where in the sequence the layers with weights stand."""
    return [index for index, layer in enumerate(model.children()) if list(layer.parameters())]
