"""Whether a budget allows a task, and the largest batch with which it does."""

from __future__ import annotations

from tightfit.datasets.batches import Batches, encoding_for
from tightfit.memory.budget import ALL_BUFFERS_LIVE, MEASURED, PEAK_LIVE, OverBudget, largest
from tightfit.memory.enforcement import Limit
from tightfit.memory.table import LayerTable, frozen_bytes
from tightfit.optimizers.base import Batch
from tightfit.run.evaluate import cross_entropy
from tightfit.run.measurement import TrainingPeak, training_peak
from tightfit.run.rehearsal import batch_like, peak_live, peak_live_of_inference
from tightfit.run.task import LARGEST, Task


def choose_batch_size(task: Task, table: LayerTable) -> int:
    """The batch size asked for; for "largest" the largest that fits, or 1 when none does."""
    training = task.training
    if training.batch_size != LARGEST:
        return int(training.batch_size)
    most = min(training.batch_limit, len(task.dataset.train.labels))
    return max(1, largest(lambda batch_size: not refusal(task, table, batch_size), most))


def refusal(task: Task, table: LayerTable, batch_size: int) -> str:
    """Why the budget refuses batches of this size, in words; empty when it allows them."""
    budget = task.budget
    if budget.bytes is None:
        return ""
    try:
        need = {
            ALL_BUFFERS_LIVE: lambda: held_in_memory(task, table, batch_size),
            PEAK_LIVE: lambda: rehearsed_peak(task, batch_size),
            MEASURED: lambda: measured_peak(task, batch_size),
        }[budget.decided_by]()
        budget.check(need, budget.decided_by)
    except OverBudget as over:
        return str(over)
    return ""


def held_in_memory(task: Task, table: LayerTable, batch_size: int) -> int:
    """What the method says that a step holds, less what the budget holds in flash."""
    return task.optimizer.memory(table, batch_size).total - task.budget.in_flash(frozen_bytes(table.rows))


def rehearsed_peak(task: Task, batch_size: int) -> int:
    """The peak of training, rehearsed without data on a batch as wide as any of the data set."""
    batch = batch_like(task.model, task.dataset.example_shape, batch_size)
    return peak_live(task.optimizer, task.model, batch, cross_entropy, task.device, task.seed)


def rehearsed_inference_peak(task: Task, batch_size: int) -> int:
    """The same of one pass that keeps nothing."""
    batch = batch_like(task.model, task.dataset.example_shape, batch_size)
    return peak_live_of_inference(task.model, batch, cross_entropy, task.device)


def measured_peak(task: Task, batch_size: int) -> int:
    """The same, of two real steps on the first batch."""
    limit, encode = Limit(task.budget, task.device), encoding_for(task.model, task.dataset)
    batches = Batches(task.dataset, batch_size, task.seed, task.device, encode)
    return peak_of_training(task, Batch(*batches.batch(0), step=0, epoch=0.0), limit).tensors.bytes


def peak_of_training(task: Task, batch: Batch, limit: Limit) -> TrainingPeak:
    return training_peak(task.optimizer, task.model, batch, task.seed, limit)
