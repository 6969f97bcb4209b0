"""Zeroth-order training by one-sided slopes: from the loss at rest and at one end of each direction.

Of q directions that takes q + 1 forward passes instead of 2 q. The slope is off by a term in eps, of the curvature.
With `descents.normalised` and directions of signs this is FZOO.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from tightfit.memory.cost import Cost
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerTable
from tightfit.optimizers.base import Batch, Facts, Learner, Objective, Report
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.suitability import check_floats
from tightfit.optimizers.zeroth_order import ZerothOrderLearner, bounded, check_passes


@dataclass(frozen=True)
class OneSided(MeZO):
    """As MeZO, with its memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_passes(self.direction, "one_sided")
        if self.direction.slope_in_loss_type:
            raise ValueError(
                f"direction={self.direction.noise} replays a code that takes two-sided slopes; choose another "
                "direction, or optimizer=mezo"
            )

    def cost(self, table: LayerTable, batch_size: int) -> Cost:
        return Cost(forward=1 + self.queries, sweeps=self.sweeps)

    def facts(self) -> Facts:
        return replace(super().facts(), forward_passes=1 + self.queries)

    @property
    def sweeps(self) -> int:
        """To the end of each direction, or a copy for it, and the update; merged, that is the way to rest too."""
        updating = self.descent.sweeps(self.queries, self.restore)
        return self.queries + (max(1, updating) if self.restore == "merged" else updating)

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        check_floats(model, "one_sided")
        return OneSidedLearner(self, model, objective, trained_parameters(model), seed)


class OneSidedLearner(ZerothOrderLearner):
    def step(self, batch: Batch) -> Report:
        lr, eps, clip = self.values_at(batch.epoch)
        at_rest = self._loss_at_rest(batch)
        losses = [float(self._loss(batch, eps, query)) for query in range(self._optimizer.queries_at(batch.epoch))]
        slopes = [bounded((loss - at_rest) / eps, clip) for loss in losses]
        with self.phases("update"):
            self._update(lr, slopes, batch)
        return Report((at_rest + sum(losses)) / (1 + len(losses)), 1 + len(losses), 0, {"slope": slopes[-1]})

    @property
    def obstacle_to_stacking(self) -> str:
        return "one-sided steps take a loss at rest"
