"""The part of a worker that is not the first: it makes the same steps from its own directions, and records nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tightfit.optimizers.base import Batch
from tightfit.records.record import RunRecord
from tightfit.run.checkpoint import CHECKPOINT, unseal
from tightfit.run.course import Course
from tightfit.run.fitting import choose_batch_size, refusal
from tightfit.run.group import GroupEnded
from tightfit.run.task import Task


def follow(config: Mapping[str, Any], folder: Path, build_task: Callable[[Mapping[str, Any], RunRecord], Task]) -> None:
    """Make the steps of the run in `folder` until the first worker, which keeps its records there, makes no more.

    Raises WorkerLost when the first is lost, and ValueError where its weights are others.
    """
    record = RunRecord(key=folder.name, experiment=config["experiment"], config=dict(config), started_at="")
    task = build_task(config, record)
    batch_size = choose_batch_size(task, task.table)
    if refusal(task, task.table, batch_size):
        return  # the first says so
    course = Course(task, record, folder, batch_size)
    course.bind()
    state = unseal(folder / CHECKPOINT, record.key, task.device)
    if state is not None:
        course.take_up(state)
    step = course.position.step
    try:
        while True:
            course.agree(step)
            course.learner.step(Batch(*course.batches.batch(step), step, course.epoch(step)))
            step += 1
    except GroupEnded:
        return
