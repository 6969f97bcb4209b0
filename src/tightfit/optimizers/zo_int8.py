"""Zeroth-order training in int8 (Full ZO of ElasticZO-INT8): MeZO whose weights, directions and steps are integers.

Only the sign of the difference of the two perturbed losses is used. Taken in integers (INT8* in the paper) no
floating-point tensor exists from the pixels to the updated weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from tightfit.clock import Phases
from tightfit.memory.breakdown import Breakdown
from tightfit.memory.integer import integer_memory
from tightfit.memory.table import LayerTable
from tightfit.numerics.int8 import Number
from tightfit.numerics.int8_perturbation import Int8Perturbation, Saturation, check_perturbation
from tightfit.numerics.integer_loss import loss_difference, mean_loss
from tightfit.optimizers.base import Batch, Learner, Objective, Report
from tightfit.schedules import Schedulable, value_at

LossSign = Literal["float", "integer"]


@dataclass(frozen=True)
class ZOInt8:
    """r_max: largest perturbation of a weight; p_zero: part of the weights left alone in a step; bits: width of
    an update; loss_sign: arithmetic in which losses are compared; fraction_bits: binary places that an integer
    comparison keeps (0: the paper's); saturation: see `Int8Perturbation`."""

    r_max: int
    p_zero: Schedulable
    bits: Schedulable = 1
    loss_sign: LossSign = "float"
    fraction_bits: int = 0
    saturation: Saturation = "clip"
    name: str = "zo_int8"

    def __post_init__(self) -> None:
        check_perturbation(self.r_max, self.saturation)
        check_loss_sign(self.loss_sign, self.fraction_bits)

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """Exactly inference: weights, activations and their accumulators. Source: ElasticZO, eq. 14."""
        return integer_memory(table, batch_size, bp_layers=0)

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        return ZOInt8Learner(self, model, objective, seed)


class ZOInt8Learner:
    def __init__(self, optimizer: ZOInt8, model: nn.Module, objective: Objective, seed: int) -> None:
        self.phases = Phases()
        self._optimizer = optimizer
        self._model = model
        self._objective = objective
        self._perturbation = Int8Perturbation(model.named_parameters(), seed, optimizer.r_max, optimizer.saturation)

    def step(self, batch: Batch) -> Report:
        optimizer, phases, perturbation = self._optimizer, self.phases, self._perturbation
        p_zero = value_at(optimizer.p_zero, batch.epoch)
        with phases("perturb"):
            perturbation.add_(1, batch.step, p_zero)
        with phases("forward"):
            plus = self._model(batch.inputs)
        with phases("perturb"):
            perturbation.add_(-2, batch.step, p_zero)
        with phases("forward"):
            minus = self._model(batch.inputs)
            sign, loss = compare(plus, minus, batch, self._objective, optimizer.loss_sign, optimizer.fraction_bits)
        with phases("update"):
            bits = int(value_at(optimizer.bits, batch.epoch))
            perturbation.restore_and_update_(sign, bits, batch.step, p_zero)
        return Report(loss, forward_passes=2, backward_passes=0, scalars={"sign": sign})

    def resting_model(self) -> nn.Module:
        return self._model

    def state_dict(self) -> dict[str, Any]:
        return {"model": self._model.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._model.load_state_dict(state["model"])


def compare(
    plus: Number, minus: Number, batch: Batch, objective: Objective, loss_sign: LossSign, fraction_bits: int
) -> tuple[int, float]:
    """Sign of loss(plus) − loss(minus), −1, 0 or 1, and the mean of the two losses for the record."""
    if loss_sign == "integer":
        difference: float = loss_difference(plus, minus, batch.labels, fraction_bits)
        loss = mean_loss(plus, minus, batch.labels)
    else:
        losses = [objective(lambda _, logits=logits: logits, batch).item() for logits in (plus, minus)]
        difference, loss = losses[0] - losses[1], sum(losses) / 2
    return (difference > 0) - (difference < 0), loss


def check_loss_sign(loss_sign: str, fraction_bits: int) -> None:
    if loss_sign not in ("float", "integer"):
        raise ValueError(f"loss_sign={loss_sign!r} is not an arithmetic; choose float or integer")
    if not 0 <= fraction_bits <= 6:
        raise ValueError(f"fraction_bits={fraction_bits} but the tables of powers of two hold 0–6; choose 0–6")
