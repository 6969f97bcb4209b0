"""Against each direction by the slope along it in units of how much the slopes of the step differ: FZOO's step.

So the rate is a length: neither the unit of the loss nor eps changes it. Where the loss is flat, slopes differ little
and steps are longer. Slopes that are all the same say nothing of their unit, and make no step.
Source: FZOO (2025), whose σ is the deviation of the losses at the probes: that of the one-sided slopes, times eps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tightfit.optimizers.descents.along import AlongDirections
from tightfit.optimizers.directions.direction import Direction


@dataclass(frozen=True)
class Normalised(AlongDirections):
    """θ ← θ − lr Σ s z / (q σ), with σ² the mean squared distance of the slopes s from their mean."""

    kind = "normalised"

    def check(self, queries: int, direction: Direction) -> None:
        if queries < 2:
            raise ValueError(
                f"queries={queries} but descent=normalised divides by how much the slopes of a step differ, and one "
                "alone does not; choose queries=2 or more"
            )

    def coefficients(self, slopes: Sequence[float]) -> Sequence[float]:
        mean = sum(slopes) / len(slopes)
        deviation = math.sqrt(sum((slope - mean) ** 2 for slope in slopes) / len(slopes))
        return [slope / deviation if deviation else 0.0 for slope in slopes]
