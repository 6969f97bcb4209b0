"""AdaZeta: MeZO with more directions a step as training goes on (Yang et al., 2024, arXiv 2406.18060).

In epoch e, counted from 0, a step averages the slopes along ⌊scale · e^power⌋ directions, at least 1 and at most
`queries`: few while the way is plain, more as the noise of an estimate comes to matter. It was made for adapters of
tensor trains (adapter=tt), and moves whatever is trained.

The number of a direction among those of all steps is step · `queries` + query, whatever a step uses: counted by what
it uses, numbers of different steps would meet.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from tightfit.memory.parts import trained_parameters
from tightfit.optimizers.base import Batch, Learner, Objective, Report
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.schedules import check_each
from tightfit.optimizers.suitability import check_floats
from tightfit.optimizers.zeroth_order import ZerothOrderLearner, slopes_of


@dataclass(frozen=True)
class AdaZeta(MeZO):
    """As MeZO. queries: the most directions of a step; scale, power: of how they grow with epochs. Its cost is that
    of a step with the most."""

    queries: int = 15
    scale: float = field(default=0.5, kw_only=True)
    power: float = field(default=0.5, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("scale", "power"):
            check_each(f"optimizer.{name}", getattr(self, name), lambda value: 0 <= value < 100, "from 0 to 100")

    def queries_at(self, epoch: float) -> int:
        """How many directions a step in `epoch` probes."""
        return max(1, min(int(self.scale * int(epoch) ** self.power), self.queries))

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        check_floats(model, "adazeta")
        return AdaZetaLearner(self, model, objective, seed)


class AdaZetaLearner(ZerothOrderLearner):
    def __init__(self, optimizer: AdaZeta, model: nn.Module, objective: Objective, seed: int) -> None:
        super().__init__(optimizer, model, objective, trained_parameters(model), seed)
        self._adazeta = optimizer

    def step(self, batch: Batch) -> Report:
        lr, eps, clip = self.values_at(batch.epoch)
        queries = self._adazeta.queries_at(batch.epoch)
        losses = [self._loss(batch, scale, query) for query in range(queries) for scale in (eps, -eps)]
        with self.phases("update"):
            share = self._adazeta.queries / queries  # an update takes the share of one direction among the most
            self._update(lr * share, slopes_of(losses, eps, clip), batch)
        return self.report_of(losses, eps, clip)

    @property
    def obstacle_to_stacking(self) -> str:
        return "the host says how many directions a step has"
