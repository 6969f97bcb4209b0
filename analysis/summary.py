"""Several seeds as one number that carries its evidence: mean, spread, count and a 95% interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# The 97.5% points of Student's t for 1, 2, … 30 degrees of freedom. For more, the last is kept: 4% too wide at most.
T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
Z_975 = 1.959964


@dataclass(frozen=True)
class Estimate:
    """A share, such as an accuracy, measured `n` times.

    spread: standard deviation over seeds, nan for one seed.
    low, high: 95% interval; of the mean over seeds ("seeds"), or, for one seed, of this model's accuracy
    given the test set's size ("test set"), which knows nothing of other seeds.
    """

    mean: float
    spread: float
    n: int
    low: float
    high: float
    interval: Literal["seeds", "test set"]

    def minus(self, published: float) -> float:
        return self.mean - published


def estimate(values: Sequence[float], examples: int | None = None) -> Estimate:
    """The estimate from one value per seed; `examples` is how many the accuracy of a single one was counted on.

    Raises ValueError for no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("no values to summarise; leave the cell blank and say why")
    mean = math.fsum(values) / n
    if n == 1:
        low, high = wilson(mean, examples) if examples else (math.nan, math.nan)
        return Estimate(mean, math.nan, 1, low, high, "test set")
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = T_975[min(n - 1, len(T_975)) - 1] * spread / math.sqrt(n)
    return Estimate(mean, spread, n, max(mean - half, 0.0), min(mean + half, 1.0), "seeds")


def wilson(share: float, examples: int) -> tuple[float, float]:
    """Wilson's 95% interval of a probability of which `share` of `examples` trials succeeded."""
    z2 = Z_975**2 / examples
    centre = (share + z2 / 2) / (1 + z2)
    half = Z_975 * math.sqrt(share * (1 - share) / examples + z2 / (4 * examples)) / (1 + z2)
    return centre - half, centre + half
