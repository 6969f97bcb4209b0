"""MeZO from a pool of seeds: a whole run is a sum of `pool` directions (FedKSeed, Qin et al., 2024, arXiv 2312.06353).

Each query draws its direction from the pool, and what the weights were moved along it is added up: these sums, one
number for each seed, give the run's end from its beginning, however many steps it took. They are what a client of
federated learning sends, and those of several clients may be added. Here is one client.

Sums are of rate × slope, so the rate may have a schedule. `clip` bounds a slope; the public code skips a step instead.
Its variant that prefers seeds by their mean slope is not here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerTable
from tightfit.numerics.noise.pool import Draw, PooledPerturbation
from tightfit.numerics.noise.probes import probe_for
from tightfit.optimizers.base import Batch, Learner, Objective
from tightfit.optimizers.descents.plain import check_plain
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.suitability import check_floats
from tightfit.optimizers.zeroth_order import ZerothOrderLearner

DRAWS = ("uniform", "cycle")
BYTES_OF_SUM = 8


@dataclass(frozen=True)
class SeedPool(MeZO):
    """As MeZO, along independent numbers. pool: how many directions there are; draw: how a query comes by one,
    uniform by chance or cycle in turn."""

    pool: int = field(default=4096, kw_only=True)
    draw: Draw = field(default="uniform", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_plain(self.descent, "seed_pool")
        if not isinstance(self.pool, int) or self.pool < 1:
            raise ValueError(f"pool={self.pool} but a query needs a direction to draw; choose 1 or more")
        if self.draw not in DRAWS:
            raise ValueError(f"draw={self.draw!r} is no way to draw from a pool; choose {' or '.join(DRAWS)}")
        if not isinstance(self.direction, Independent):
            raise ValueError(
                f"direction={self.direction.noise} but seed_pool returns to directions of other steps; "
                "choose direction=gaussian, or another of independent numbers"
            )

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """As MeZO's, and the sums in float64."""
        plain = super().memory(table, batch_size)
        return replace(plain, optimizer_state=plain.optimizer_state + BYTES_OF_SUM * self.pool)

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        check_floats(model, "seed_pool")
        return SeedPoolLearner(self, model, objective, seed)

    def perturbation(self, model: nn.Module, seed: int) -> PooledPerturbation:
        """What moves the trained weights of `model` along the directions of the pool."""
        direction = self.direction
        assert isinstance(direction, Independent)
        return PooledPerturbation(
            trained_parameters(model), seed, self.queries, direction.noise, direction.kernel, self.pool, self.draw
        )

    def move_(self, model: nn.Module, sums: torch.Tensor, seed: int) -> None:
        """Move the trained weights of `model` by `sums` (pool,) along the directions of a run with that `seed`.

        From where the run began, that is where it ended, but for the order of roundings.
        Raises ValueError for another number of sums.
        """
        if sums.shape != (self.pool,):
            raise ValueError(f"{list(sums.shape)} sums but pool={self.pool}; give one for each seed")
        moves = [(amount, seed_number) for seed_number, amount in enumerate(sums.tolist()) if amount]
        self.perturbation(model, seed).add_counted_(moves)


class SeedPoolLearner(ZerothOrderLearner):
    def __init__(self, optimizer: SeedPool, model: nn.Module, objective: Objective, seed: int) -> None:
        super().__init__(optimizer, model, objective, trained_parameters(model), seed)
        self._pooled = optimizer.perturbation(model, seed)
        self._probe = probe_for(optimizer.restore, model, self._pooled)
        self.sums = torch.zeros(optimizer.pool, dtype=torch.float64)

    def _update(self, lr: float, slopes: list[float], batch: Batch) -> None:
        super()._update(lr, slopes, batch)
        for query, slope in enumerate(slopes):
            self.sums[self._pooled.counter(batch.step, query)] -= lr * slope / len(slopes)

    @property
    def obstacle_to_stacking(self) -> str:
        return "the host draws directions from a pool"

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "sums": self.sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.sums.copy_(state["sums"])
