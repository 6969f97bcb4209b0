"""ZO-AdaMU: momentum inside the direction that is probed, not in the step (Jiang et al., 2024, arXiv 2312.15184).

A direction m is a mixture of one around zero and one around the direction kept from the step before (see
`numerics.noise.drifting`), by weights alpha and beta1 that begin at 1, where it is fresh noise, and fall while training
goes on. The step is θ ← θ − lr s m / √(v + 1e-8), with v = beta2 ż² + (1 − beta2) z̈² and the slope s along m.

The paper's equation, its text and its figure of how the weights fall disagree. `form=paper` is the figure: with t the
part of training that is over, from t₁ = 1/6 to t₂ = 2/3 a weight is ½ + ½ cos(π (t − t₁) / (1 − φ (t − t₁) (1 − t₂) /
(t₂ − t₁))), with φ = 0.1, 1 and 1.5 for alpha, beta1 and beta2, and not below 0.01. It ends at the text's 0.5 for alpha
and 0.01 for beta2. `form=code` is the authors' trainer, made to run: t₁ = 1,024 of 20,000 steps, t₂ = 0.8, φ = 1, 0.1
and 1.5, and it keeps the direction that leads uphill, sign(s) m, where the paper keeps m.
Unlike the code, which probes by other weights than it moves by, a step moves along what it probed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.cost import Cost
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerTable, output_bytes, parameter_bytes
from tightfit.numerics.noise.drifting import DRAWS, DriftingPerturbation, Mixture
from tightfit.numerics.noise.perturbation import Piece
from tightfit.numerics.noise.probes import probe_for
from tightfit.optimizers.base import Batch, Facts, Learner, Objective, Report
from tightfit.optimizers.descents.plain import PLAIN
from tightfit.optimizers.descents.sign import sign
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.schedules import check_positive
from tightfit.optimizers.suitability import check_floats
from tightfit.optimizers.zeroth_order import ZerothOrder, ZerothOrderLearner

SMALLEST = 1e-8  # added to v


@dataclass(frozen=True)
class Form:
    """When the weights fall, as parts of training; how fast, for alpha, beta1 and beta2; and what is kept."""

    begins: float
    ends: float
    phis: tuple[float, float, float]
    least: float
    keeps_uphill: bool

    def weights(self, part: float) -> tuple[float, float, float]:
        """alpha, beta1 and beta2 when that part of training is over."""
        fallen = min(max(part, self.begins), self.ends) - self.begins
        slower = fallen * (1 - self.ends) / (self.ends - self.begins)
        alpha, beta1, beta2 = (
            max(self.least, 0.5 + 0.5 * math.cos(math.pi * fallen / (1 - phi * slower))) for phi in self.phis
        )
        return alpha, beta1, beta2


FORMS = {
    "paper": Form(1 / 6, 2 / 3, (0.1, 1.0, 1.5), least=0.01, keeps_uphill=False),
    "code": Form(1024 / 20_000, 0.8, (1.0, 0.1, 1.5), least=0.0, keeps_uphill=True),
}


@dataclass(frozen=True)
class ZOAdaMU(ZerothOrder):
    """As ZerothOrder, with one direction a step and a descent of its own. epochs: of the full protocol, by which the
    weights of the mixture fall; form: paper or code, which rule of the two."""

    epochs: float = field(kw_only=True)
    form: Literal["paper", "code"] = field(default="paper", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("optimizer.epochs", self.epochs)
        if self.form not in FORMS:
            raise ValueError(f"form={self.form!r} is no rule of zo_adamu; choose {' or '.join(FORMS)}")
        if self.queries != 1:
            raise ValueError(f"queries={self.queries} but zo_adamu keeps one direction a step; choose queries=1")
        if self.descent != PLAIN or not isinstance(self.direction, Independent):
            raise ValueError(
                f"direction={self.direction.noise}, descent={self.descent.kind} but zo_adamu makes its own of "
                "independent numbers; choose direction=gaussian and descent=plain"
            )

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """As MeZO's, and the direction that is kept: each of its numbers in 32 bits where the weight has fewer."""
        return Breakdown(
            parameters=parameter_bytes(table.rows) + self.direction.bytes_held(table.rows, self.restore),
            activations=output_bytes(table.rows, batch_size),
            optimizer_state=sum(row.trained_elements * max(4, row.bytes_per_parameter) for row in table.rows),
        )

    def cost(self, table: LayerTable, batch_size: int) -> Cost:
        return Cost(forward=2, sweeps=self.sweeps)

    @property
    def sweeps(self) -> int:
        """Two draws for each end, for the way to rest if merged, and for the update, where what is kept is renewed."""
        return len(DRAWS) * (4 if self.restore == "merged" else 3) + 1

    def facts(self) -> Facts:
        return Facts(2, 0, 1, self.direction.noise, descent="adamu")

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        check_floats(model, "zo_adamu")
        return ZOAdaMULearner(self, model, objective, seed)


class ZOAdaMULearner(ZerothOrderLearner):
    def __init__(self, optimizer: ZOAdaMU, model: nn.Module, objective: Objective, seed: int) -> None:
        parameters, direction = trained_parameters(model), optimizer.direction
        super().__init__(optimizer, model, objective, parameters, seed)
        assert isinstance(direction, Independent)
        self._adamu, self._form = optimizer, FORMS[optimizer.form]
        self._parameters = dict(parameters)
        self._drifting = DriftingPerturbation(parameters, seed, direction.noise, direction.kernel)
        self._probe = self._in_pieces = probe_for(optimizer.restore, model, self._drifting)

    @torch.no_grad()
    def step(self, batch: Batch) -> Report:
        alpha, beta1, _ = self._weights_at(batch)
        self._drifting.begin()
        self._drifting.mixture = Mixture(alpha, beta1)
        return super().step(batch)

    def _weights_at(self, batch: Batch) -> tuple[float, float, float]:
        return self._form.weights(batch.epoch / self._adamu.epochs)

    def _update(self, lr: float, slopes: list[float], batch: Batch) -> None:
        self._in_pieces.sweep(partial(self._move, lr, slopes[0], self._weights_at(batch)[2]), batch.step, DRAWS)

    def _move(self, lr: float, slope: float, beta2: float, piece: Piece) -> None:
        around_zero, around_kept, direction = self._drifting.parts(piece)
        kept = self._drifting.kept[piece.parameter][piece.place]
        torch.mul(direction, sign(slope) if self._form.keeps_uphill else 1.0, out=kept)
        square = around_zero.square_().mul_(beta2).add_(around_kept.square_(), alpha=1 - beta2)
        if lr:  # adding zeros would turn −0 into 0
            piece.add_(direction.mul_(-lr * slope).div_(square.add_(SMALLEST).sqrt_()))

    @property
    def obstacle_to_stacking(self) -> str:
        return "the host keeps directions"

    def state_dict(self) -> dict[str, Any]:
        kept = self._drifting.kept
        own = {name: kept[parameter] for name, parameter in self._parameters.items()} if kept else {}
        return {**super().state_dict(), "kept": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._drifting.kept = {
            self._parameters[name]: kept.to(self._parameters[name].device, copy=True)
            for name, kept in state["kept"].items()
        }
