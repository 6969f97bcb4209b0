"""When a run is evaluated: evenly, as often as asked, unless that takes too much of the seconds that limit the run."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter

MOST_OF_TRAINING = 0.2  # evaluation beside training that seconds limit; the recorded runs of that kind took up to 0.17
ALWAYS_MADE = 3  # evaluations, however long they take: before training, at the first part, and at the end


class Pace:
    """The evaluations after the first one, which comes before training: at equal parts of the run.

    A run that its epochs end is evaluated exactly as asked. One that seconds may end is evaluated less often where
    evaluation would otherwise take more than a fifth of its training, though at the first part and at the end always.
    """

    def __init__(self, asked: int, limited: bool) -> None:
        self._asked, self._limited = asked, limited
        self._cheapest = math.inf  # the seconds of an evaluation: others may have been disturbed
        self._last = 0.0  # the part of the run that was over then

    @contextmanager
    def evaluating(self, done: float) -> Generator[None]:
        start = perf_counter()
        yield
        self._last, self._cheapest = done, min(self._cheapest, perf_counter() - start)

    def is_due(self, done: float, passed: int, train_seconds: float) -> bool:
        """Whether to evaluate when the part `done` of the run is over, and `passed` of the parts asked for were."""
        if done < (passed + 1) / self._asked:
            return False
        return passed == 0 or done >= 1.0 or done >= self._last + self._apart(done, train_seconds)

    def passed(self, done: float, passed: int) -> int:
        """How many of the parts asked for are over after an evaluation: those that seconds left no room for are not
        made up for, also where there is room later."""
        return max(passed + 1, math.floor(done * self._asked)) if self._limited else passed + 1

    def _apart(self, done: float, train_seconds: float) -> float:
        """The part of the run that must lie between evaluations; 0 where there is room for all that were asked for."""
        if not self._limited or train_seconds == 0.0 or math.isinf(self._cheapest):
            return 0.0
        apart = self._cheapest / (MOST_OF_TRAINING * train_seconds / done)
        return apart if apart > 1 / self._asked else 0.0
