"""The loop every method goes through: budget → bind → step → evaluate → record. It never asks which method it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from tightfit import checkpoint
from tightfit.clock import Clock
from tightfit.datasets.dataset import Dataset
from tightfit.datasets.stream import Stream, encoding_for
from tightfit.evaluate import cross_entropy, score
from tightfit.interruption import Interruption
from tightfit.loss_log import LossLog
from tightfit.measurement import TrainingPeak, inference_peak, training_peak
from tightfit.memory.budget import ALL_BUFFERS_LIVE, MEASURED, PEAK_LIVE, MemoryBudget, OverBudget, largest
from tightfit.memory.enforcement import Limit
from tightfit.memory.table import LayerTable, layer_table
from tightfit.optimizers.base import Batch, Optimizer, Report
from tightfit.records import RunRecord, append_eval, keep_evals_until, read_evals, write_atomically, write_run
from tightfit.rehearsal import batch_like, peak_live, peak_live_of_inference
from tightfit.tracking.tracker import Tracker

LARGEST = "largest"
CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.pt"
REPLAY_LOG = "losses.f32"
# Told after each evaluation: the part of the run that is over, the accuracy, and the training seconds so far.
Progress = Callable[[float, float, float], None]


@dataclass(frozen=True)
class Training:
    """How long and how finely to train.

    epochs: length of the full protocol; schedules are written in these.
    fraction: the part of it that is run, with all schedules, and `seconds`, compressed alike.
    batch_size: examples per step, or "largest": the largest that the budget allows, at most `batch_limit`.
    evaluations: how many, evenly spread; one more comes before the first step.
    seconds: stop after this much training time; None trains all epochs.
    keep: what checkpoints and the end of the run leave on the disk: weights, or losses, from which runs that only
        use forward passes are rebuilt (others keep weights all the same).
    """

    epochs: float
    fraction: float = 1.0
    batch_size: int | str = 32
    batch_limit: int = 256
    evaluations: int = 100
    seconds: float | None = None
    keep: Literal["weights", "losses"] = "weights"

    def __post_init__(self) -> None:
        for name in ("epochs", "fraction", "evaluations", "batch_limit"):
            if getattr(self, name) <= 0:
                raise ValueError(f"training.{name}={getattr(self, name)} must be more than 0")
        if self.batch_size != LARGEST and (not isinstance(self.batch_size, int) or self.batch_size < 1):
            raise ValueError(f"training.batch_size={self.batch_size!r}: write a whole number from 1, or {LARGEST}")
        if self.keep not in ("weights", "losses"):
            raise ValueError(f"training.keep={self.keep!r} is nothing that a run leaves; choose weights or losses")

    @property
    def most_seconds(self) -> float:
        """Training time at which a run ends even if steps are left."""
        return math.inf if self.seconds is None else self.seconds * self.fraction

    def steps(self, steps_per_epoch: int) -> int:
        return max(1, round(self.epochs * self.fraction * steps_per_epoch))


@dataclass
class Position:
    """Where a run stands between two steps; with the learner's state, all that a checkpoint holds."""

    step: int = 0
    evaluations: int = 0
    forward_passes: int = 0
    backward_passes: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    scalars: dict[str, float] = field(default_factory=dict)

    def advance(self, report: Report) -> None:
        self.step += 1
        self.forward_passes += report.forward_passes
        self.backward_passes += report.backward_passes
        self.loss_sum += report.loss
        self.loss_count += 1
        self.scalars = dict(report.scalars)


@dataclass(frozen=True)
class Task:
    """Everything one run is about."""

    optimizer: Optimizer
    model: nn.Module
    dataset: Dataset
    budget: MemoryBudget
    training: Training
    seed: int
    device: torch.device


def run(task: Task, record: RunRecord, folder: Path, tracker: Tracker, progress: Progress) -> RunRecord:
    """Train under the budget, from the last checkpoint in `folder` if there is one; returns the ended record.

    A need above the budget ends the run as `over_budget` before it trains; so does, while it trains, an allocation
    that an enforced budget let fail. A loss that is not finite ends it as `diverged`, naming the step; a request to
    stop as `interrupted`, ready to be continued.
    """
    table = layer_table(task.model, task.dataset.example_shape)
    batch_size = choose_batch_size(task, table)
    need = task.optimizer.memory(table, batch_size)
    record.memory = {
        "convention": ALL_BUFFERS_LIVE,
        "analytic": need.as_dict(),
        "batch_size": batch_size,
        "budget_bytes": task.budget.bytes,
    }
    try:
        task.budget.check(need.total, ALL_BUFFERS_LIVE)
        if task.budget.decided_by == PEAK_LIVE:
            record.memory["peak_live_bytes"] = rehearsed_peak(task, batch_size)
            record.memory["peak_live_inference_bytes"] = rehearsed_inference_peak(task, batch_size)
            task.budget.check(record.memory["peak_live_bytes"], PEAK_LIVE)
        under_way = Run(task, record, folder, tracker, progress, batch_size)
        under_way.measure_memory()
    except OverBudget as refusal:
        record.status, record.reason = "over_budget", str(refusal)
        tracker.start(record, folder, resumed_at=None)
        return record
    return under_way.complete()


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
            ALL_BUFFERS_LIVE: lambda: task.optimizer.memory(table, batch_size).total,
            PEAK_LIVE: lambda: rehearsed_peak(task, batch_size),
            MEASURED: lambda: measured_peak(task, batch_size),
        }[budget.decided_by]()
        budget.check(need, budget.decided_by)
    except OverBudget as over:
        return str(over)
    return ""


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
    limit = Limit(task.budget, task.device)
    return peak_of_training(task, first_batch(task, batch_size), limit).tensors.bytes


def first_batch(task: Task, batch_size: int) -> Batch:
    encode = encoding_for(task.model, task.dataset)
    return Batch(*Stream(task.dataset, batch_size, task.seed, task.device, encode).batch(0), step=0, epoch=0.0)


def peak_of_training(task: Task, batch: Batch, limit: Limit) -> TrainingPeak:
    return training_peak(task.optimizer, task.model, batch, task.seed, limit)


class Run:
    """One run under way."""

    def __init__(
        self, task: Task, record: RunRecord, folder: Path, tracker: Tracker, progress: Progress, batch_size: int
    ) -> None:
        self.task, self.record, self.folder, self.tracker, self.progress = task, record, folder, tracker, progress
        self.clock = Clock(task.device)
        self.position = Position()
        self.encode = encoding_for(task.model, task.dataset)
        self.stream = Stream(task.dataset, batch_size, task.seed, task.device, self.encode)
        self.steps = task.training.steps(self.stream.steps_per_epoch)
        self.scored = task.dataset.test.to(task.device)
        self.losses = LossLog(cross_entropy)
        task.model.to(task.device)
        self.limit = Limit(task.budget, task.device)

    def complete(self) -> RunRecord:
        """Train to the end, or until stopped, diverged or out of the memory that is allowed."""
        self.bind()
        resumed_at = self.resume()
        self.tracker.start(self.record, self.folder, resumed_at)
        write_run(self.folder, self.record)
        try:
            return self.train(resumed_at)
        except OverBudget as exhausted:
            return self.give_up(exhausted)

    def train(self, resumed_at: int | None) -> RunRecord:
        with Interruption() as interruption:
            if resumed_at is None:
                self.evaluate()
            self.renew_limit()
            while self.done() < 1.0:
                if interruption.requested:
                    return self.interrupt()
                if not self.train_one_step():
                    break
                if self.done() >= (self.position.evaluations + 1) / self.task.training.evaluations:
                    self.evaluate()
                    self.save()
                    self.renew_limit()
        return self.finish()

    def bind(self) -> None:
        task = self.task
        self.learner = task.optimizer.bind(task.model, self.losses, task.seed)

    def replay(self, losses: bytes, steps: int) -> None:
        """Take the learner through its first `steps` steps by the losses noted then, without forward passes."""
        self.losses.rewind(losses)
        for step in range(steps):
            self.learner.step(Batch(*self.stream.batch(step), step, self.epoch(step)))

    @property
    def is_replayable(self) -> bool:
        """Whether the losses noted are all that the weights depend on."""
        position = self.position
        return position.backward_passes == 0 and position.forward_passes == len(self.losses.losses)

    @property
    def keeps_weights(self) -> bool:
        return self.task.training.keep == "weights" or not self.is_replayable

    def done(self) -> float:
        """The part of this run that is over, by steps or by seconds, whichever is further."""
        by_seconds = self.clock.train_seconds / self.task.training.most_seconds
        return max(self.position.step / self.steps, by_seconds)

    def train_one_step(self) -> bool:
        """One step on the clock; False when its loss is not finite."""
        step = self.position.step
        with self.limit, self.clock.training():
            inputs, labels = self.stream.batch(step)
            report = self.learner.step(Batch(inputs, labels, step, self.epoch(step)))
        self.position.advance(report)
        if not math.isfinite(report.loss):
            self.record.status = "diverged"
            self.record.reason = f"loss is {report.loss} at step {step}; lower the learning rate or clip the slope"
        return math.isfinite(report.loss)

    def epoch(self, step: int) -> float:
        """The epoch of the full protocol in which `step` stands."""
        return step * self.task.training.epochs / self.steps

    def evaluate(self) -> None:
        """Score the model at rest and record a row; the training clock stands still."""
        with self.clock.evaluation():
            result = score(self.learner.resting_model(), self.scored, self.encode)
        position, scored = self.position, self.task.dataset.scored
        row = {
            "step": position.step,
            "epoch": self.epoch(position.step),
            "done": self.done(),
            "examples_seen": position.step * self.stream.batch_size,
            **self.clock.state_dict(),
            "forward_passes": position.forward_passes,
            "backward_passes": position.backward_passes,
            "train_loss": position.loss_sum / position.loss_count if position.loss_count else None,
            f"{scored}_accuracy": result.accuracy,
            f"{scored}_loss": result.loss,
            **position.scalars,
        }
        position.evaluations += position.step > 0
        position.loss_sum, position.loss_count = 0.0, 0
        append_eval(self.folder, row)
        self.tracker.log(row)
        self.progress(self.done(), result.accuracy, self.clock.train_seconds)

    def renew_limit(self) -> None:
        """Training has the budget to itself again after evaluation and recording, which are outside of it."""
        self.limit.renew(resident=sum(parameter.nbytes for parameter in self.task.model.parameters()))

    def measure_memory(self) -> None:
        """Record the measured peak of two throwaway steps, and of inference on the same batch.

        Raises OverBudget when the budget has a say in it and does not allow them.
        """
        batch = Batch(*self.stream.batch(0), step=0, epoch=0.0)
        measured = peak_of_training(self.task, batch, self.limit)
        self.record.memory |= {
            **measured.as_dict(),
            "measured_over_analytic": measured.tensors.bytes / self.record.memory["analytic"]["total"],
            "measured_inference_peak_bytes": inference_peak(self.task.model, batch),
        }
        self.task.budget.check(measured.tensors.bytes, MEASURED)

    def resume(self) -> int | None:
        """Continue from the checkpoint in the folder; returns its step, or None for a run from the beginning."""
        state = checkpoint.load(self.folder / CHECKPOINT, self.task.device)
        if state is None:
            keep_evals_until(self.folder, step=-1)
            return None
        self.position = Position(**state["position"])
        if "learner" in state:
            self.learner.load_state_dict(state["learner"])
            self.losses.continue_after(state.get("losses", b""))  # checkpoints had none before there were logs
        else:
            self.replay(state["losses"], self.position.step)
        self.clock.load_state_dict(state["clock"])
        self.learner.phases.seconds = state["phases"]
        keep_evals_until(self.folder, self.position.step)
        return self.position.step

    def save(self) -> None:
        state = {
            **({"learner": self.learner.state_dict()} if self.keeps_weights else {}),
            "losses": bytes(self.losses),
            "clock": self.clock.state_dict(),
            "phases": self.learner.phases.seconds,
            "position": asdict(self.position),
        }
        checkpoint.save(self.folder / CHECKPOINT, state)

    def interrupt(self) -> RunRecord:
        self.save()
        self.record.status = "interrupted"
        self.record.reason = f"stopped on request at step {self.position.step} of {self.steps}; run again to continue"
        return self.record

    def give_up(self, exhausted: OverBudget) -> RunRecord:
        """Close the record of a run that the budget ended; the weights may be perturbed and are not kept."""
        self.record.status = "over_budget"
        self.record.reason = f"{exhausted}, at step {self.position.step} of {self.steps}"
        write_run(self.folder, self.record)
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return self.record

    def finish(self) -> RunRecord:
        """Close the record: weights, summary, and whether the measured peak kept to the budget."""
        record, budget = self.record, self.task.budget
        if record.status == "running":
            record.status = "finished"
        measured = record.memory["measured_peak_bytes"]
        if not record.reason and not budget.allows(measured):
            record.reason = f"measured peak {budget.refusal(measured)}"
        model = self.learner.resting_model()
        if self.keeps_weights:
            checkpoint.save(self.folder / WEIGHTS, model.state_dict())
        if self.is_replayable:
            write_atomically(self.folder / REPLAY_LOG, bytes(self.losses))
        record.summary = self.summary(model)
        record.phase_seconds = self.learner.phases.seconds
        write_run(self.folder, record)
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return record

    def summary(self, model: nn.Module) -> dict[str, Any]:
        rows, scored = read_evals(self.folder), self.task.dataset.scored
        accuracies = [row[f"{scored}_accuracy"] for row in rows]
        return {
            "final_accuracy": accuracies[-1],
            "best_accuracy": max(accuracies),
            "final_loss": rows[-1][f"{scored}_loss"],
            **self.clock.state_dict(),
            "steps": self.position.step,
            "peak_bytes": self.record.memory["measured_peak_bytes"],
            "weights_sha256": checkpoint.weights_digest(model),
        }
