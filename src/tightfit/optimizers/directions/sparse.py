"""Directions along small weights alone: Sparse-MeZO (Liu et al., 2024, arXiv 2402.15751).

A weight moves while its magnitude is at most the threshold of its tensor: the magnitude that a share `keep` of the
tensor's weights did not exceed when training began. The mask is taken anew for each step, of the weights at rest, and
is the same for both probes and the update. Weights of one magnitude go together: a bias of zeros moves as a whole.

The paper's own code is not to be had; other codes that bear the name mask at random, or by perturbed weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from tightfit.memory.table import LayerRow, largest_trained_bytes
from tightfit.numerics.noise.counter_noise import TABLES
from tightfit.numerics.noise.masked import MaskedStream
from tightfit.numerics.noise.perturbation import Noise, Perturbation
from tightfit.numerics.noise.probes import Probe, Restore, probe_for
from tightfit.numerics.noise.streams import counter_streams_for
from tightfit.optimizers.directions.direction import Parameters


@dataclass(frozen=True)
class Sparse:
    """keep: share of each tensor's weights that move at the start; numbers: the distribution of their moves."""

    keep: float = 0.25
    numbers: Noise = "gaussian"

    noise = "sparse"
    slope_in_loss_type = False
    in_pieces = True
    together = 1

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"optimizer.direction.keep={self.keep} but some weights must move; choose 0 < keep ≤ 1")
        if self.numbers not in TABLES:
            raise ValueError(f"numbers={self.numbers!r} are not drawn by counters; choose {', '.join(TABLES)}")

    def check(self, queries: int, restore: Restore) -> None:
        pass

    def bytes_held(self, rows: tuple[LayerRow, ...], restore: Restore) -> int:
        """A bit for each weight that may move; with restore=exact a moved copy of the largest layer."""
        bits = sum(-(-math.prod(shape) // 8) for row in rows for shape in row.shapes)
        return bits + (largest_trained_bytes(rows) if restore == "exact" else 0)

    def probe(self, model: nn.Module, parameters: Parameters, seed: int, queries: int, restore: Restore) -> Probe:
        plain = counter_streams_for(parameters, seed, self.numbers)
        masked = {weights: MaskedStream(stream, self.keep, queries) for weights, stream in plain.items()}
        return probe_for(restore, model, Perturbation.of({**masked}, queries))
