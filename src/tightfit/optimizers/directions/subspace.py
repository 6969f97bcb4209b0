"""Directions within random subspaces: SubZero (Yu et al., 2024, arXiv 2410.08989).

Of each matrix the direction is √(m n) / r · U Z Vᵀ: Z (r, r) is new for each direction, U and V, of orthonormal
columns, stay for `period` steps. A tensor of one axis moves along independent numbers, and so does a matrix no side of
which is longer than `rank`: a rotation of independent normal numbers is of the same law, so the method is then mezo.

In the published code Z has r rows where U has only m < r columns, and U and V are made at step 0 alone, so that a run
cannot be resumed. Here a shorter side takes its own length in place of r, and both are made anew from seed and step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from torch import nn

from tightfit.memory.table import LayerRow, largest_trained_bytes
from tightfit.numerics.noise.factored import SubspaceStream
from tightfit.numerics.noise.perturbation import Perturbation
from tightfit.numerics.noise.probes import Probe, Restore, probe_for
from tightfit.optimizers.directions.direction import Parameters
from tightfit.optimizers.directions.low_rank import FLOAT32_BYTES, check_whole, factored_streams


@dataclass(frozen=True)
class Subspace:
    """rank: of a subspace on either side of a matrix, r; period: steps that U and V stay."""

    rank: int = 8
    period: int = 2000

    noise = "subspace"
    slope_in_loss_type = False
    in_pieces = True
    together = 1

    def __post_init__(self) -> None:
        check_whole("rank", self.rank)
        check_whole("period", self.period)

    def check(self, queries: int, restore: Restore) -> None:
        pass

    def bytes_held(self, rows: tuple[LayerRow, ...], restore: Restore) -> int:
        """U Z and V of one matrix, the largest; with restore=exact a moved copy of the largest layer."""
        factors = max((self._factor_bytes(shape) for row in rows for shape in row.shapes), default=0)
        return factors + (largest_trained_bytes(rows) if restore == "exact" else 0)

    def _factor_bytes(self, shape: tuple[int, ...]) -> int:
        if not self._applies_to(shape):
            return 0
        sides = shape[0], math.prod(shape[1:])
        return FLOAT32_BYTES * min(self.rank, sides[1]) * sum(sides)

    def _applies_to(self, shape: tuple[int, ...]) -> bool:
        """Whether the subspace of a tensor of that shape is less than the whole."""
        return len(shape) > 1 and max(shape[0], math.prod(shape[1:])) > self.rank

    def perturbation(self, parameters: Parameters, seed: int, queries: int) -> Perturbation:
        make = partial(SubspaceStream, rank=self.rank, period=self.period)
        return Perturbation.of(factored_streams(parameters, seed, queries, make, self._applies_to), queries)

    def probe(self, model: nn.Module, parameters: Parameters, seed: int, queries: int, restore: Restore) -> Probe:
        return probe_for(restore, model, self.perturbation(parameters, seed, queries))
