"""How long a run will take: its steps are told before it trains, its seconds as soon as its first steps show them."""

from __future__ import annotations

from collections.abc import Callable

from tightfit.run.pace import ALWAYS_MADE, MOST_OF_TRAINING
from tightfit.run.task import Training

# Of training, whichever comes first: compiled kernels and warm caches are behind a run by then.
SECONDS_TO_TELL_FROM, PART_TO_TELL_FROM = 2.0, 0.05
LEAST_SECONDS_TOLD = 5.0  # of what is left: less is over before it is read
Tell = Callable[[str], None]


class Forecast:
    """Tells how long a run of `steps` will take, of `batch_size` examples each."""

    def __init__(self, tell: Tell, training: Training, steps: int, batch_size: int) -> None:
        self._tell, self._training, self._steps, self._batch_size = tell, training, steps, batch_size
        self._first: tuple[int, float] | None = None
        self._is_told = training.seconds is not None  # before it trains

    def before(self, step: int, train_seconds: float, made: int) -> None:
        """Tell what is ahead. step, train_seconds: where the run stands; made: how often it was scored."""
        training, left = self._training, self._steps - step
        steps = f"{counted(left, 'step')} of {counted(self._batch_size, 'example')}"
        evaluations = training.evaluations + 1 - made
        if training.seconds is None:
            self._tell(f"{steps}, {counted(evaluations, 'evaluation')}")
            return
        seconds = max(0.0, training.most_seconds - train_seconds)
        sure = min(evaluations, 1 if made else ALWAYS_MADE)
        more = f", and up to {evaluations - sure:,} more within {duration(MOST_OF_TRAINING * seconds)}"
        self._tell(
            f"at most {duration(seconds)} of training, or {steps}; beside it {counted(sure, 'evaluation')}"
            + (more if evaluations > sure else "")
        )

    def after_step(self, step: int, train_seconds: float, made: int, eval_seconds: float) -> None:
        """Tell once how long the rest takes, unless it was told before or is short.

        Steps that were made when it begins, and the first one after these, do not count.
        step: how many are made; train_seconds and eval_seconds: of the run so far, of which `made` were scored.
        """
        if self._is_told:
            return
        if self._first is None:
            self._first = step, train_seconds
        steps, seconds = step - self._first[0], train_seconds - self._first[1]
        is_early = seconds < SECONDS_TO_TELL_FROM and steps < PART_TO_TELL_FROM * (self._steps - self._first[0])
        if not steps or is_early:
            return
        training = seconds / steps * (self._steps - step)
        scoring = eval_seconds / max(1, made) * max(0, self._training.evaluations + 1 - made)
        if training + scoring < LEAST_SECONDS_TOLD:
            return
        self._is_told = True
        self._tell(
            f"{counted(self._steps - step, 'step')} left, about {duration(training)} of training, and "
            f"{duration(scoring)} of scoring; training.seconds=… ends it earlier"
        )


def counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def duration(seconds: float) -> str:
    """In the largest unit of which there are two or more."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1g} s"
