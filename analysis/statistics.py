"""Every statistic of the tables: several seeds as one number that carries its evidence, and scores hard to fool.

Bootstraps draw from a fixed seed, so that a table is the same each time it is made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Literal

import numpy as np

# The 97.5% points of Student's t for 1, 2, … 30 degrees of freedom. For more, the last is kept: 4% too wide at most.
T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
Z_975 = 1.959964
RESAMPLES, BOOTSTRAP_SEED = 10_000, 0
TAILS = (2.5, 97.5)  # percentiles
BOTH = "seeds and test set"  # what an interval is of
HOW_BOTH = (
    "Intervals of several seeds: 95%, hierarchical bootstrap of seeds and test examples. Records hold how many of "
    "them were right, not which: they are drawn from the binomial distribution, alike for all seeds, which share them."
)


@dataclass(frozen=True)
class Estimate:
    """A share, such as an accuracy, measured `n` times.

    spread: standard deviation over seeds, nan for one seed.
    low, high: 95% interval; of the mean, over seeds and test examples, or over seeds alone where the size of the test
    set is not known; or, for one seed, of this model's accuracy given that size ("test set"), which knows nothing of
    other seeds.
    """

    mean: float
    spread: float
    n: int
    low: float
    high: float
    interval: Literal["seeds and test set", "seeds", "test set"]

    def minus(self, published: float) -> float:
        return self.mean - published

    def against(self, published: float) -> Literal["agrees", "above", "below", ""]:
        """Where this lies by its interval, two-sided; nothing for one seed, of which the interval knows too little."""
        if self.n == 1 or math.isnan(self.low):
            return ""
        return "above" if self.low > published else "below" if self.high < published else "agrees"


def estimate(values: Sequence[float], examples: int | None = None, resamples: int = RESAMPLES) -> Estimate:
    """The estimate from one value per seed; `examples` is how many each was counted on.

    resamples: of the bootstrap; fewer make the ends of an interval less certain, and take less time.

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
    if examples:
        return Estimate(mean, spread, n, *hierarchical(values, examples, resamples), BOTH)
    half = student(n) * spread / math.sqrt(n)
    return Estimate(mean, spread, n, max(mean - half, 0.0), min(mean + half, 1.0), "seeds")


def student(n: int) -> float:
    """The 97.5% point of Student's t for the mean of `n` values."""
    return T_975[min(n - 1, len(T_975)) - 1]


def wilson(share: float, examples: int) -> tuple[float, float]:
    """Wilson's 95% interval of a probability of which `share` of `examples` trials succeeded."""
    z2 = Z_975**2 / examples
    centre = (share + z2 / 2) / (1 + z2)
    half = Z_975 * math.sqrt(share * (1 - share) / examples + z2 / (4 * examples)) / (1 + z2)
    return centre - half, centre + half


def hierarchical(accuracies: Sequence[float], examples: int, resamples: int = RESAMPLES) -> tuple[float, float]:
    """95% interval of the mean accuracy, over seeds and over the `examples` that all of them were scored on.

    A resample draws seeds with replacement, and the test set anew for all seeds together: each example has a
    difficulty, and a seed of accuracy p is right on those below its p-quantile. That makes the errors of seeds as alike
    as their accuracies allow, so that more seeds do not make up for few examples. Deviations of few seeds are too
    small by √((n − 1)/n), and normal where Student's t is due; the seeds' part is widened by both, as Hesterberg's
    expanded percentile interval is (The American Statistician 69, 2015).
    """
    values = np.sort(np.asarray(accuracies, dtype=float))
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = generator.integers(len(values), size=(resamples, len(values)))
    error = counts_alike(values, examples, generator, resamples) / examples - values
    low, high = np.percentile(values.mean() + deviations(values, error, drawn), TAILS)
    return max(float(low), 0.0), min(float(high), 1.0)


def deviations(values: np.ndarray, error: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Of each resample's mean from that of `values`: by the seeds `drawn`, widened, and by their `error` of examples.

    Shapes: values (n,); error and drawn (resamples, n); result (resamples,).
    """
    n = len(values)
    widening = math.sqrt(n / (n - 1)) * student(n) / Z_975
    of_seeds = widening * (values[drawn].mean(1) - values.mean())
    return of_seeds + np.take_along_axis(error, drawn, axis=1).mean(1)


def counts_alike(
    values: np.ndarray, examples: int, generator: np.random.Generator, resamples: int = RESAMPLES
) -> np.ndarray:
    """How many of `examples` are right at each of the rising accuracies `values`: (resamples, n).

    Each is binomial, and whatever the worse one has right the better one has too.
    """
    counts, right, before = [], np.zeros(resamples, dtype=np.int64), 0.0
    for value in values:
        share = (value - before) / (1 - before) if before < 1 else 0.0
        right = right + generator.binomial(examples - right, min(max(share, 0.0), 1.0))
        counts.append(right)
        before = value
    return np.stack(counts, axis=1)


@dataclass(frozen=True)
class Difference:
    """How far the mean of one method lies above that of another, a share.

    low, high: 95%, as of a mean; nan where either has a single seed.
    """

    mean: float
    low: float
    high: float


def difference(ones: Sequence[float], others: Sequence[float], examples: int) -> Difference:
    """The seeds of both are drawn apart, the `examples` that all were scored on together: see `hierarchical`."""
    both = [np.sort(np.asarray(values, dtype=float)) for values in (ones, others)]
    mean = float(both[0].mean() - both[1].mean())
    if min(map(len, both)) == 1:
        return Difference(mean, math.nan, math.nan)
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    together = np.concatenate(both)
    rising = np.argsort(together, kind="stable")
    error = np.empty((RESAMPLES, len(together)))
    error[:, rising] = counts_alike(together[rising], examples, generator) / examples - together[rising]
    of_each = [
        deviations(values, part, generator.integers(len(values), size=part.shape))
        for values, part in zip(both, np.split(error, [len(ones)], axis=1), strict=True)
    ]
    low, high = np.percentile(mean + of_each[0] - of_each[1], TAILS)
    return Difference(mean, float(low), float(high))


@dataclass(frozen=True)
class Times:
    """Seconds of training until something happened, over those of `tries` in which it did; a miss is infinity."""

    seconds: tuple[float, ...]
    tries: int

    @property
    def all(self) -> tuple[float, ...]:
        return (*self.seconds, *[math.inf] * (self.tries - len(self.seconds)))

    @property
    def median(self) -> float:
        return median(self.all) if self.tries else math.nan


def times_to(accuracy: float, courses: Sequence[np.ndarray]) -> Times:
    """When each of `courses`, (n, 2) seconds of training and accuracy, is first seen at `accuracy`."""
    reached = [course[course[:, 1] >= accuracy, 0] for course in courses]
    return Times(tuple(float(times[0]) for times in reached if len(times)), len(courses))


@dataclass(frozen=True)
class Improvement:
    """How likely a seed of one method ends above a seed of another; low, high: 95%, bootstrap of both methods' seeds.

    Where all pairs agree no bootstrap can tell how often they would not: the interval is nan.
    """

    probability: float
    low: float
    high: float


def improvement(ones: Sequence[float], others: Sequence[float]) -> Improvement:
    """Over all pairs of seeds; a tie counts half. Source: Agarwal et al., 2021 (rliable)."""
    wins = np.array([[0.5 * ((one > other) + (one >= other)) for other in others] for one in ones])
    if wins.min() == wins.max() != 0.5:
        return Improvement(float(wins.mean()), math.nan, math.nan)
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    rows, columns = (generator.integers(count, size=(RESAMPLES, count)) for count in wins.shape)
    resampled = wins[rows[:, :, None], columns[:, None, :]].mean((1, 2))
    low, high = np.percentile(resampled, TAILS)
    return Improvement(float(wins.mean()), float(low), float(high))


def performance_profile(
    seconds: Mapping[tuple[str, str], float], factors: Sequence[float]
) -> dict[str, tuple[float, ...]]:
    """For each method the share of workloads that it solves within each of `factors` of the fastest one's seconds.

    seconds: to the target, by method and workload; infinity, or nothing, where a method does not get there. A workload
    that none solves counts against all. Source: Dolan and Moré, 2002; as in AlgoPerf.
    """
    methods, workloads = (list(dict.fromkeys(pair[place] for pair in seconds)) for place in (0, 1))
    times = {pair: seconds.get(pair, math.inf) for pair in product(methods, workloads)}
    best = {workload: min(times[one, workload] for one in methods) for workload in workloads}
    solved = [workload for workload in workloads if math.isfinite(best[workload])]
    return {
        one: tuple(
            sum(times[one, workload] <= factor * best[workload] for workload in solved) / len(workloads)
            for factor in factors
        )
        for one in methods
    }
