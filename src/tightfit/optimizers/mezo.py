"""MeZO: zeroth-order training with the memory of inference (Malladi et al., 2023; Full ZO in ElasticZO).

Two forward passes at weights moved by ±eps along a random direction z give the slope of the loss along it;
the weights then move along z in proportion. z is regenerated from its seed each time, never stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.cost import Cost
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerTable, output_bytes, parameter_bytes
from tightfit.optimizers.base import Learner, Objective
from tightfit.optimizers.schedules import Schedule
from tightfit.optimizers.suitability import check_floats
from tightfit.optimizers.zeroth_order import ZerothOrder, ZerothOrderLearner


@dataclass(frozen=True)
class MeZO(ZerothOrder):
    """As ZerothOrder. growth: how many directions a step has at an epoch, rounded down, from 1 to `queries`; None for
    `queries` all along. Where a step has most is what is planned for, and its number parts directions of one step from
    those of another."""

    growth: Schedule | None = field(default=None, kw_only=True)

    @property
    def steady(self) -> bool:
        return self.growth is None

    def queries_at(self, epoch: float) -> int:
        return self.queries if self.growth is None else int(min(max(self.growth(epoch), 1), self.queries))

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """Exactly inference: parameters and activations (ElasticZO, eq. 3), of as many batches as are passed together.
        What a direction holds to move the weights counts as parameters too, and what a descent holds between steps
        comes on top."""
        return Breakdown(
            parameters=parameter_bytes(table.rows) + self.direction.bytes_held(table.rows, self.restore),
            activations=output_bytes(table.rows, batch_size) * self.direction.together,
            optimizer_state=self.descent.state_bytes(table.rows),
        )

    def cost(self, table: LayerTable, batch_size: int) -> Cost:
        return Cost(forward=2 * self.queries, sweeps=self.sweeps, together=self.direction.together)

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        check_floats(model, "mezo")
        return ZerothOrderLearner(self, model, objective, trained_parameters(model), seed)
