"""Two pieces of work timed in turn, so that a machine that slows down slows both, within a bound of seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

from tightfit.optimizers.base import Batch, Learner

Work = Callable[[], object]
Clock = Callable[[], float]

MOST_PAIRS = 150
SHORTEST = 0.05  # seconds of one measurement: shorter work is repeated


@dataclass(frozen=True)
class Ratio:
    """seconds(work) / seconds(reference) over `pairs`: the median, and the quartiles; and the medians of the seconds.

    is_cut: whether the seconds allowed were over before all pairs were taken.
    """

    low: float
    median: float
    high: float
    seconds: float
    reference_seconds: float
    pairs: int
    is_cut: bool


def ratio_within(
    work: Work, reference: Work, within: float, most: int = MOST_PAIRS, least: int = 1, now: Clock = time.perf_counter
) -> Ratio:
    """As many pairs as `within` seconds allow, from `least` to `most`, after each ran once to warm up.

    Warming up counts: it may compile.
    """
    began = now()
    reference()
    work()
    once = [seconds_of(each, 1, now) for each in (work, reference)]
    repeats = [max(1, round(SHORTEST / max(seconds, 1e-9))) for seconds in once]
    ones, others = ([seconds] if repeats == [1, 1] else [] for seconds in once)
    while len(ones) < least or (len(ones) < most and now() - began < within):
        ones.append(seconds_of(work, repeats[0], now))
        others.append(seconds_of(reference, repeats[1], now))
    ratios = [one / other for one, other in zip(ones, others, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    times = (statistics.median(seconds) for seconds in (ones, others))
    return Ratio(low, median, high, *times, pairs=len(ratios), is_cut=len(ratios) < most)


def stepping(learner: Learner, batch: Batch) -> Work:
    """Its steps on `batch`, from the first on."""
    steps = count()
    return lambda: learner.step(replace(batch, step=next(steps)))


def seconds_of(work: Work, repeats: int, now: Clock = time.perf_counter) -> float:
    start = now()
    for _ in range(repeats):
        work()
    return (now() - start) / repeats
