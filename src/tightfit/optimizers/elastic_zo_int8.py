"""ElasticZO-INT8: int8 zeroth-order steps for the first layers, NITI's backward for the last (ElasticZO, Alg. 2).

Weights, directions and steps are integers, and of the two perturbed losses only which is higher is used. With that
taken in integers (INT8* in the paper) no floating-point tensor exists from the pixels to the updated weights. The
second perturbed pass also gives the last layers their activations, as in `elastic_zo` with bp_pass=minus.
Without BP layers this is MeZO in int8, the paper's Full ZO: `optimizer=zo_int8`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.cost import Cost, backward_work
from tightfit.memory.integer import integer_memory
from tightfit.memory.table import LayerTable
from tightfit.numerics.int8.perturbation import Int8Perturbation, Saturation, check_steps
from tightfit.optimizers.base import Batch, Facts, Learner, Objective, Report
from tightfit.optimizers.loss_sign import LossSign, SignAudit, comparison
from tightfit.optimizers.niti_bp import NITI, IntegerBackward, check_bits
from tightfit.optimizers.phases import Phases
from tightfit.optimizers.schedules import Schedulable, check_each, value_at
from tightfit.optimizers.suitability import check_integers


@dataclass(frozen=True)
class ElasticZOInt8:
    """r_max: largest perturbation of a weight; p_zero: part of the weights left alone in a step; bits: width of a
    zeroth-order update; bp_layers: how many of the last layers with weights NITI's backward trains; bp_bits: width
    of their updates, as in NITIBP; loss_sign: arithmetic in which losses are compared; fraction_bits: binary places
    that an integer comparison keeps (0: the paper's); saturation: see `Int8Perturbation`; audit: count how often
    the sign is that of float64, which needs floating point but changes nothing."""

    r_max: int
    p_zero: Schedulable
    bits: Schedulable = 1
    bp_layers: int = 0
    bp_bits: Schedulable = 5
    loss_sign: LossSign = "float"
    fraction_bits: int = 0
    saturation: Saturation = "clip"
    audit: bool = False

    def __post_init__(self) -> None:
        check_bits("optimizer.bits", self.bits)
        check_bits("optimizer.bp_bits", self.bp_bits)
        check_steps(self.r_max, self.saturation)
        check_each("optimizer.p_zero", self.p_zero, lambda part: 0 <= part < 1, "from 0 to less than 1")
        comparison(self.loss_sign, self.fraction_bits)

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """Inference, and gradients and errors for the last `bp_layers` layers with weights and all after them.

        Raises ValueError when the model has fewer layers with weights. Source: ElasticZO, eq. 15 (14 with none).
        """
        return integer_memory(table, batch_size, self.bp_layers)

    def cost(self, table: LayerTable, batch_size: int) -> Cost:
        return Cost(2, backward_work(table, table.last(self.bp_layers)), sweeps=3)

    def facts(self) -> Facts:
        backward, rule = (1, NITI) if self.bp_layers else (0, None)
        return Facts(2, backward, 1, "uniform", rule, integer_loss=self.loss_sign == "integer")

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        check_integers(model, "elastic_zo_int8")
        return ElasticZOInt8Learner(self, model, objective, seed)


class ElasticZOInt8Learner:
    def __init__(self, optimizer: ElasticZOInt8, model: nn.Module, objective: Objective, seed: int) -> None:
        self.phases = Phases()
        self._optimizer = optimizer
        self._model = model
        self._objective = objective
        self._backward = IntegerBackward(model, optimizer.bp_layers, seed)
        before = {id(p) for layer in list(model.children())[: self._backward.first] for p in layer.parameters()}
        zeroth_order = [(name, p) for name, p in model.named_parameters() if id(p) in before]
        self._perturbation = Int8Perturbation(zeroth_order, seed, optimizer.r_max, optimizer.saturation)
        self._compare = comparison(optimizer.loss_sign, optimizer.fraction_bits)
        self._audit = SignAudit()

    def step(self, batch: Batch) -> Report:
        optimizer, phases, perturbation = self._optimizer, self.phases, self._perturbation
        p_zero = value_at(optimizer.p_zero, batch.epoch)
        kept: list[torch.Tensor] = []
        with phases("perturb"):
            perturbation.add_(1, batch.step, p_zero)
        with phases("forward"):
            plus = self._model(batch.inputs)
        with phases("perturb"):
            perturbation.add_(-2, batch.step, p_zero)
        with phases("forward"):
            minus = self._model(batch.inputs, kept, self._backward.first)
            sign, loss = self._compare(plus, minus, batch, self._objective)
        if optimizer.audit:
            self._audit.count(sign, plus, minus, batch.labels)
        with phases("update"):
            bits = int(value_at(optimizer.bits, batch.epoch))
            perturbation.restore_and_update_(sign, bits, batch.step, p_zero)
        if optimizer.bp_layers:
            with phases("backward"):
                self._backward.train_(minus, kept, batch, int(value_at(optimizer.bp_bits, batch.epoch)))
        scalars = {"sign": sign, **self._audit.scalars()}
        return Report(loss, forward_passes=2, backward_passes=int(optimizer.bp_layers > 0), scalars=scalars)

    def resting_model(self) -> nn.Module:
        return self._model

    def state_dict(self) -> dict[str, Any]:
        return {"model": self._model.state_dict(), "audit": asdict(self._audit)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
        self._audit = SignAudit(**state["audit"])
