"""How long a run will take, said once: before it trains where seconds limit it, else from its first steps."""

from __future__ import annotations

from collections.abc import Callable

from tightfit.run.pace import MOST_OF_TRAINING
from tightfit.run.task import Training

SECONDS_TO_TELL_FROM = 2.0  # of training: compiled kernels and warm caches are behind a run by then
Tell = Callable[[str], None]


def of_limited(training: Training) -> str:
    """What a run takes at most that seconds may end; empty for any other."""
    if training.seconds is None:
        return ""
    scoring = MOST_OF_TRAINING * training.most_seconds
    return f"at most {duration(training.most_seconds)} of training, and about {duration(scoring)} of scoring beside it"


class Forecast:
    """Tells how long a run of `steps` will take, scored `evaluations` times, once its steps show it.

    Steps that are already made when it begins, and the first one after these, do not count.
    """

    def __init__(self, tell: Tell, steps: int, evaluations: int, limited: bool) -> None:
        self._tell, self._steps, self._evaluations = tell, steps, evaluations
        self._first: tuple[int, float] | None = None
        self._is_told = limited

    def after_step(self, step: int, train_seconds: float, made: int, eval_seconds: float) -> None:
        """step: how many are made; train_seconds and eval_seconds: of the run so far, of which `made` were scored."""
        if self._is_told:
            return
        if self._first is None:
            self._first = step, train_seconds
        steps, seconds = step - self._first[0], train_seconds - self._first[1]
        if not steps or seconds < SECONDS_TO_TELL_FROM:
            return
        self._is_told = True
        training = seconds / steps * (self._steps - step)
        scoring = eval_seconds / max(1, made) * max(0, self._evaluations + 1 - made)
        self._tell(
            f"{self._steps - step:,} steps left, about {duration(training)} of training, and {duration(scoring)} of "
            f"scoring; training.seconds=… ends it earlier"
        )


def duration(seconds: float) -> str:
    """In the largest unit of which there are two or more."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
