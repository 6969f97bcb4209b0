"""How long runs will take on this machine, measured from a few of their steps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from tightfit.datasets.batches import Batches, encoding_for
from tightfit.datasets.dataset import Examples
from tightfit.optimizers.base import Batch
from tightfit.optimizers.captured import captured
from tightfit.records.record import RunRecord, read_evals
from tightfit.run.evaluate import cross_entropy, score
from tightfit.run.faults import EXPECTED
from tightfit.run.fitting import choose_batch_size
from tightfit.run.session import build_task
from tightfit.run.task import Task

AGREEMENT = 1.25  # two steps agree when neither takes so many times as long as the other
MOST_WARM_UP_SECONDS = 60.0  # the first steps compile kernels, which can take half of that
MEASURED_STEPS = 20
MOST_SECONDS = 8.0  # of measured steps: one of a language model can take several
SCORED_PART = 8  # every eighth example
DECIDING_PARTS = ("model", "dataset", "training", "memory_budget")


@dataclass(frozen=True)
class Steps:
    """What the first steps of a run took: those until two agreed, and those after them."""

    warm_up: tuple[float, ...]
    measured: tuple[float, ...]

    def seconds_of(self, steps: int) -> float:
        """How long the first `steps` take: the warm-up as it was, all others as those measured did on average."""
        as_they_were = self.warm_up[:steps]
        return sum(as_they_were) + mean(self.measured) * (steps - len(as_they_were))


@dataclass(frozen=True)
class Estimate:
    """Seconds that runs will take one after another, and what they were derived from."""

    seconds: float
    kinds: int = 0  # of runs, of which one each was measured
    steps: int = 0  # measured, after the warm-up
    steps_expected: int = 0  # of the same runs, whole
    unmeasured: tuple[str, ...] = ()  # why a kind could not be measured

    @property
    def basis(self) -> str:
        """What was measured and what is extrapolated, in words."""
        words = [f"one run of each of {self.kinds} kinds was measured" if self.kinds != 1 else "one run was measured"]
        if self.steps:
            words.append(f"{self.steps} steps after warm-up stand for {self.steps_expected:,}")
        words.append(f"evaluations are from every {SCORED_PART}th example")
        return "; ".join([*words, *(f"not measured, and left out: {reason}" for reason in self.unmeasured)])


def estimated(folders_and_configs: Sequence[tuple[Path, Mapping[str, Any]]]) -> Estimate:
    """What the runs will take, less what is done of them; of runs that differ in seeds and rates alone one is measured.

    Raises ValueError for a run whose values are impossible; one whose data cannot be had now is left out.
    """
    measured: dict[str, Estimate] = {}
    total = 0.0
    for folder, config in folders_and_configs:
        kind = json.dumps([without_rates(config["optimizer"]), *(config[part] for part in DECIDING_PARTS)])
        if kind not in measured:
            measured[kind] = measure_or_leave_out(config)
        rows = read_evals(folder)
        total += measured[kind].seconds * (1.0 - (rows[-1]["done"] if rows else 0.0))
    kinds = list(measured.values())
    return Estimate(
        total,
        sum(each.kinds for each in kinds),
        sum(each.steps for each in kinds),
        sum(each.steps_expected for each in kinds),
        tuple(dict.fromkeys(reason for each in kinds for reason in each.unmeasured)),
    )


def without_rates(settings: Any) -> Any:
    """The settings of a method but for its fractions: rates, lengths and decays, by which no step takes longer."""
    if isinstance(settings, Mapping):
        return {name: without_rates(value) for name, value in settings.items() if not isinstance(value, float)}
    return settings


def measure_or_leave_out(config: Mapping[str, Any]) -> Estimate:
    """As `measure`; zero, with the reason, for a run that the machine or its data do not let start."""
    try:
        return measure(config)
    except ValueError:
        raise
    except EXPECTED as error:
        return Estimate(0.0, unmeasured=(str(error).splitlines()[0],))


def measure(config: Mapping[str, Any]) -> Estimate:
    """What one whole run of `config` will take, pretraining left out; one that seconds end is taken to need them."""
    task = build_task({**config, "pretraining": None}, RunRecord(key="", experiment="", config={}))
    training, batch_size = task.training, choose_batch_size(task, task.table)  # after the check that the data fit
    evaluations = evaluation_seconds(task) * (training.evaluations + 1)
    if training.seconds is not None:
        return Estimate(training.most_seconds + evaluations, kinds=1)
    steps, expected = measured_training(task, batch_size)
    return Estimate(steps.seconds_of(expected) + evaluations, 1, len(steps.measured), expected)


def measured_training(task: Task, batch_size: int) -> tuple[Steps, int]:
    """The first steps, and how many there will be. The model is trained a little for it."""
    encode = encoding_for(task.model, task.dataset)
    batches = Batches(task.dataset, batch_size, task.seed, task.device, encode)
    bound = task.optimizer.bind(task.model.to(task.device), cross_entropy, task.seed)
    learner, _ = captured(bound, task.training.capture, task.device)
    steps = measured_steps(lambda step: learner.step(Batch(*batches.batch(step), step, 0.0)).read())
    return steps, task.training.steps(batches.steps_per_epoch)


def measured_steps(take: Callable[[int], object], now: Callable[[], float] = time.perf_counter) -> Steps:
    """Take steps until two that follow each other agree, then those that are measured; both within bounds of seconds.

    take: the step of that number. now: seconds on a clock.
    """

    def seconds_of(step: int) -> float:
        start = now()
        take(step)
        return now() - start

    warm_up = [seconds_of(0)]
    while sum(warm_up) < MOST_WARM_UP_SECONDS:
        warm_up.append(seconds_of(len(warm_up)))
        slow, fast = max(warm_up[-2:]), min(warm_up[-2:])
        if slow <= AGREEMENT * fast:
            break
    measured: list[float] = []
    while len(measured) < MEASURED_STEPS and (not measured or sum(measured) < MOST_SECONDS):
        measured.append(seconds_of(len(warm_up) + len(measured)))
    return Steps(tuple(warm_up), tuple(measured))


def evaluation_seconds(task: Task) -> float:
    """Seconds one evaluation will take, from a part of the examples, long and short ones alike."""
    whole = task.dataset.test.to(task.device)
    part = Examples(whole.inputs[::SCORED_PART], whole.labels[::SCORED_PART])
    start = time.perf_counter()
    score(task.model.to(task.device), part, encoding_for(task.model, task.dataset))
    return (time.perf_counter() - start) * len(whole.labels) / len(part.labels)
