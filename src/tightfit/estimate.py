"""How long runs will take on this machine, measured from a few of their steps."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from tightfit.datasets.dataset import Examples
from tightfit.datasets.stream import Stream, encoding_for
from tightfit.evaluate import cross_entropy, score
from tightfit.fitting import choose_batch_size
from tightfit.memory.table import layer_table
from tightfit.optimizers.base import Batch
from tightfit.records import RunRecord, read_evals
from tightfit.session import EXPECTED, build_task
from tightfit.task import Task

WARM_UP_STEPS = 3
MEASURED_STEPS = 20
MOST_SECONDS = 8.0  # of steps: one of a language model can take several
SCORED_PART = 8  # every eighth example
DECIDING_PARTS = ("optimizer", "model", "dataset", "training", "memory_budget")


def estimated_seconds(folders_and_configs: Sequence[tuple[Path, Mapping[str, Any]]]) -> float:
    """Seconds that the runs will take one after another, less what is done of them; runs that differ in seed alone
    are measured once."""
    measured: dict[str, float] = {}
    total = 0.0
    for folder, config in folders_and_configs:
        kind = json.dumps([config[part] for part in DECIDING_PARTS])
        if kind not in measured:
            measured[kind] = measure_or_zero(config)
        rows = read_evals(folder)
        total += measured[kind] * (1.0 - (rows[-1]["done"] if rows else 0.0))
    return total


def measure_or_zero(config: Mapping[str, Any]) -> float:
    """As `measure`; zero for a run that cannot start, which will say why when its turn comes."""
    try:
        return measure(config)
    except EXPECTED:
        return 0.0


def measure(config: Mapping[str, Any]) -> float:
    """Seconds one whole run of `config` will take, pretraining left out; one that seconds end is taken to need them."""
    task = build_task({**config, "pretraining": None}, RunRecord(key="", experiment="", config={}))
    training = task.training
    training_seconds = training_seconds_of_steps(task) if training.seconds is None else training.most_seconds
    return training_seconds + evaluation_seconds(task) * (training.evaluations + 1)


def training_seconds_of_steps(task: Task) -> float:
    """Seconds all steps will take. The model is trained a little for it."""
    table = layer_table(task.model, task.dataset.example_shape)
    encode = encoding_for(task.model, task.dataset)
    stream = Stream(task.dataset, choose_batch_size(task, table), task.seed, task.device, encode)
    learner = task.optimizer.bind(task.model.to(task.device), cross_entropy, task.seed)
    seconds: list[float] = []
    while len(seconds) < WARM_UP_STEPS + MEASURED_STEPS and sum(seconds) < MOST_SECONDS:
        step, start = len(seconds), time.perf_counter()
        learner.step(Batch(*stream.batch(step), step, 0.0))
        seconds.append(time.perf_counter() - start)
    return mean(seconds[WARM_UP_STEPS:] or seconds[-1:]) * task.training.steps(stream.steps_per_epoch)


def evaluation_seconds(task: Task) -> float:
    """Seconds one evaluation will take, from a part of the examples, long and short ones alike."""
    whole = task.dataset.test.to(task.device)
    part = Examples(whole.inputs[::SCORED_PART], whole.labels[::SCORED_PART])
    start = time.perf_counter()
    score(task.model.to(task.device), part, encoding_for(task.model, task.dataset))
    return (time.perf_counter() - start) * len(whole.labels) / len(part.labels)
