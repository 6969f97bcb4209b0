"""HiZOO: MeZO along directions that are short where the loss is curved (Zhao et al., 2024, arXiv 2402.15173).

Beside the two losses of a direction d = z / √H a third is taken, at rest: ΔL = L(θ + eps d) + L(θ − eps d) − 2 L(θ) is
eps² times the second derivative along d, which teaches H, one estimate for each weight. It begins at 1:
H ← (1 − alpha) H + alpha · |ΔL| / (2 eps²) · H z² in the public code, whose mean is the diagonal of the Hessian plus
½ tr(H⁻¹ ∇²L) H: nearly a common factor for all weights, where these are many. With z² − 1 in place of z², and with the
sign of ΔL, the mean is the diagonal alone; a step then takes no estimate below half of what it was.

Unlike the public code, which probes by the old H and moves by the new, a step moves along the direction that it probed.
A loss in float32 leaves a rounding error of about 1e-7 L / eps² in the second derivative: choose eps for that too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.cost import Cost
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerTable
from tightfit.numerics.noise.counter_noise import TABLES
from tightfit.numerics.noise.curvature import CurvedPerturbation
from tightfit.numerics.noise.probes import probe_for
from tightfit.optimizers.base import Batch, Facts, Learner, Objective, Report
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.schedules import Schedulable, check_each, value_at
from tightfit.optimizers.suitability import check_floats
from tightfit.optimizers.zeroth_order import ZerothOrderLearner, pairs, slopes_of

SUBTRACTED = {"published": 0.0, "exact": 1.0}  # from z²
BYTES_OF_ESTIMATE = 4


@dataclass(frozen=True)
class HiZOO(MeZO):
    """As MeZO, along independent numbers by counters. alpha: how fast the curvature is learned, 0 for never;
    curvature: published or exact, what a step teaches (see above)."""

    alpha: Schedulable = field(default=1e-6, kw_only=True)
    curvature: Literal["published", "exact"] = field(default="published", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_each("optimizer.alpha", self.alpha, lambda value: 0 <= value <= 1, "from 0 to 1")
        if self.curvature not in SUBTRACTED:
            raise ValueError(f"curvature={self.curvature!r} is no estimate; choose {' or '.join(SUBTRACTED)}")
        if not isinstance(self.direction, Independent) or self.direction.noise not in TABLES:
            raise ValueError(
                f"direction={self.direction.noise} but hizoo scales independent numbers drawn by counters; "
                f"choose direction={', '.join(TABLES)}"
            )

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """As MeZO's, and the curvature of each trained weight in float32."""
        plain = super().memory(table, batch_size)
        estimates = BYTES_OF_ESTIMATE * sum(row.trained_elements for row in table.rows)
        return replace(plain, optimizer_state=plain.optimizer_state + estimates)

    def cost(self, table: LayerTable, batch_size: int) -> Cost:
        """Sweeps to each end of a direction, or copies for it; to the update; and over the curvature."""
        return Cost(forward=2 * self.queries + 1, sweeps=4 * self.queries)

    def facts(self) -> Facts:
        return replace(super().facts(), forward_passes=2 * self.queries + 1)

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        check_floats(model, "hizoo")
        return HiZOOLearner(self, model, objective, seed)


class HiZOOLearner(ZerothOrderLearner):
    def __init__(self, optimizer: HiZOO, model: nn.Module, objective: Objective, seed: int) -> None:
        parameters, direction = trained_parameters(model), optimizer.direction
        super().__init__(optimizer, model, objective, parameters, seed)
        assert isinstance(direction, Independent)
        self._hizoo = optimizer
        self._names = dict(parameters)
        self._curved = CurvedPerturbation(parameters, seed, optimizer.queries, direction.noise, direction.kernel)
        self._probe = probe_for(optimizer.restore, model, self._curved)

    def step(self, batch: Batch) -> Report:
        lr, eps, clip = self.values_at(batch.epoch)
        at_rest = self._loss_at_rest(batch)
        losses = self._losses_of_step(batch, eps)
        with self.phases("update"):
            self._update(lr, slopes_of(losses, eps, clip), batch)
            self._probe.rest()  # before the direction that they are off by is another
            bends = [float(plus + minus - 2 * at_rest) / (2 * eps**2) for plus, minus in pairs(losses)]
            self._learn_curvature(bends, batch)
        report = self.report_of(losses, eps, clip)
        scalars = {**report.scalars, "second_derivative": 2 * bends[-1]}
        return replace(report, forward_passes=len(losses) + 1, scalars=scalars)

    @torch.no_grad()
    def _learn_curvature(self, bends: list[float], batch: Batch) -> None:
        alpha = value_at(self._hizoo.alpha, batch.epoch)
        if alpha:
            subtracted = SUBTRACTED[self._hizoo.curvature]
            self._curved.learn_(batch.step, bends if subtracted else list(map(abs, bends)), alpha, subtracted)

    def curvature(self) -> dict[str, torch.Tensor]:
        """What is learned so far, of each trained parameter by its name: (n,) float32, in the order of its memory."""
        return {name: self._curved.curved[parameter].curvature for name, parameter in self._names.items()}

    @property
    def obstacle_to_stacking(self) -> str:
        return "the host learns the curvature"

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "curvature": self.curvature()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for name, curvature in self.curvature().items():
            curvature.copy_(state["curvature"][name])
