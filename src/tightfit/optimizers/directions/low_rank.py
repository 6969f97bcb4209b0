"""Directions of low rank: LOZO (Chen et al., 2024, arXiv 2410.07698).

Of each matrix the direction is U Vᵀ: U is new for each direction, V stays for `period` steps. Gradients of language
models are nearly of low rank, and r (m + n) numbers are drawn in place of m n. A tensor of one axis moves along
independent numbers.

The paper divides the slope by r, for E[U Vᵀ ⟨g, U Vᵀ⟩] = r g. Here z = U Vᵀ / √r, which does the same and keeps eps the
length that it is for other directions: eps and lr of the paper are ours / √r and ours. The published code does neither:
its lr is ours / r, its eps ours / √r. And at the first step of a period it updates along another direction than the one
probed, for it seeds its generator, draws V and then U for the probe, and only U from the same seed for the update. Here
both draw the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from torch import nn

from tightfit.memory.table import LayerRow, largest_trained_bytes
from tightfit.numerics.noise.both_ends import PRODUCTS, BothEnds
from tightfit.numerics.noise.factored import NUMBERS, FactoredStream, LazyStream
from tightfit.numerics.noise.perturbation import Perturbation
from tightfit.numerics.noise.probes import Probe, Restore, probe_for
from tightfit.numerics.noise.streams import Stream, counter_streams_for
from tightfit.optimizers.directions.direction import Parameters

FLOAT32_BYTES = 4
MakeStream = Callable[..., FactoredStream]
Where = Literal["weights", "activations"]
OF_PRODUCTS = {kind.__name__ for kind in PRODUCTS} | {"WideLinear"}


@dataclass(frozen=True)
class LowRank:
    """rank: of a direction, r, at most a side of the matrix; period: steps that V stays; probe: what is moved to take
    losses, the weights, or the activations for both ends of a direction in one pass (`numerics.noise.both_ends`)."""

    rank: int = 4
    period: int = 50
    probed: Where = "weights"

    slope_in_loss_type = False

    def __post_init__(self) -> None:
        check_whole("rank", self.rank)
        check_whole("period", self.period)
        if self.probed not in get_args(Where):
            raise ValueError(f"optimizer.direction.probed={self.probed!r} is not moved; choose weights or activations")

    @property
    def noise(self) -> str:
        return "rank_one" if self.rank == 1 else "low_rank"

    @property
    def in_pieces(self) -> bool:
        return self.probed == "weights"

    @property
    def together(self) -> int:
        return 2 if self.probed == "activations" else 1

    def check(self, queries: int, restore: Restore) -> None:
        if self.probed == "activations" and restore != "exact":
            raise ValueError(
                f"restore={restore} but probed=activations leaves the weights at rest; choose restore=exact, or "
                "optimizer.direction.probed=weights"
            )

    def bytes_held(self, rows: tuple[LayerRow, ...], restore: Restore) -> int:
        """The factors of one matrix, the largest; with restore=exact a moved copy of the largest layer, but of a
        product none if its outputs are moved."""
        factors = max((factor_bytes(shape, self.rank) for row in rows for shape in row.shapes), default=0)
        copied = tuple(row for row in rows if self.probed == "weights" or row.kind not in OF_PRODUCTS)
        return factors + (largest_trained_bytes(copied) if restore == "exact" else 0)

    def perturbation(self, parameters: Parameters, seed: int, queries: int) -> Perturbation:
        make = partial(LazyStream, rank=self.rank, period=self.period)
        return Perturbation.of(factored_streams(parameters, seed, queries, make), queries)

    def probe(self, model: nn.Module, parameters: Parameters, seed: int, queries: int, restore: Restore) -> Probe:
        perturbation = self.perturbation(parameters, seed, queries)
        return BothEnds(model, perturbation) if self.together == 2 else probe_for(restore, model, perturbation)


def is_matrix(shape: tuple[int, ...]) -> bool:
    return len(shape) > 1


def factored_streams(
    parameters: Parameters,
    seed: int,
    queries: int,
    make: MakeStream,
    applies_to: Callable[[tuple[int, ...]], bool] = is_matrix,
) -> dict[nn.Parameter, Stream]:
    """What `make` makes for the tensors of shapes that it applies to, and independent numbers for the others."""
    plain = counter_streams_for(parameters, seed, NUMBERS)
    streams: dict[nn.Parameter, Stream] = {**plain}
    for name, weights in parameters:
        if applies_to(weights.shape):
            streams[weights] = make(plain[weights], weights.data, name, seed, queries)
    return streams


def factor_bytes(shape: tuple[int, ...], rank: int) -> int:
    """Bytes of the factors of a direction of that rank for one tensor: none unless it is a matrix."""
    if not is_matrix(shape):
        return 0
    sides = shape[0], math.prod(shape[1:])
    return FLOAT32_BYTES * min(rank, *sides) * sum(sides)


def check_whole(name: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"optimizer.direction.{name}={value} but it counts from 1; choose 1 or more")


LAZY = LowRank()
