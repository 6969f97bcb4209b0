"""The loop every method goes through: budget → bind → step → evaluate → record. It never asks which method it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from tightfit.memory.budget import ALL_BUFFERS_LIVE, MEASURED, PEAK_LIVE, OverBudget
from tightfit.memory.enforcement import Limit
from tightfit.memory.table import frozen_bytes
from tightfit.optimizers.base import Batch, Deferred, Report
from tightfit.optimizers.shared import part_of
from tightfit.records.record import (
    RunRecord,
    Status,
    append_eval,
    read_evals,
    seal_of_evals,
    write_atomically,
    write_run,
)
from tightfit.run import checkpoint
from tightfit.run.best import Best
from tightfit.run.checkpoint import REPLAY_LOG, WEIGHTS
from tightfit.run.course import Course
from tightfit.run.evaluate import score
from tightfit.run.fitting import (
    choose_batch_size,
    held_in_memory,
    peak_of_training,
    rehearsed_inference_peak,
    rehearsed_peak,
)
from tightfit.run.forecast import Forecast, Tell
from tightfit.run.history import end_session, take_up
from tightfit.run.interruption import Interruption
from tightfit.run.measurement import inference_peak
from tightfit.run.metrics import METRICS, Score
from tightfit.run.pace import Pace
from tightfit.run.task import Task
from tightfit.tracking.tracker import Tracker

# Told after each evaluation: the part of the run that is over, what it found, and the training seconds so far.
Progress = Callable[[float, Score, float], None]


def nobody_listens(text: str) -> None: ...


def weight_bytes(model: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())


def run(
    task: Task, record: RunRecord, folder: Path, tracker: Tracker, progress: Progress, tell: Tell = nobody_listens
) -> RunRecord:
    """Train under the budget, from the last checkpoint in `folder` if there is one; returns the ended record.

    A need above the budget ends the run as `over_budget` before it trains; so does, while it trains, an allocation
    that an enforced budget let fail. A loss that is not finite ends it as `diverged`, naming the step, when it is read:
    at once, or before the next evaluation where steps are captured. A request to stop ends it as `interrupted`, ready
    to be continued.
    """
    under_way = prepared(task, record, folder, tracker, progress)
    if under_way:
        under_way.will_tell(tell)
    return under_way.complete() if under_way else record


def prepared(task: Task, record: RunRecord, folder: Path, tracker: Tracker, progress: Progress) -> Run | None:
    """The run, ready to be trained; None where the budget refuses it, which is recorded."""
    table = task.table
    batch_size = choose_batch_size(task, table)
    need = task.optimizer.memory(table, batch_size)
    record.memory = {
        "convention": ALL_BUFFERS_LIVE,
        "analytic": need.as_dict(),
        "batch_size": batch_size,
        "budget_bytes": task.budget.bytes,
    }
    if task.budget.flash is not None:
        record.memory["in_flash_bytes"] = task.budget.in_flash(frozen_bytes(table.rows))
    try:
        task.budget.check(held_in_memory(task, table, batch_size), ALL_BUFFERS_LIVE)
        if task.budget.decided_by == PEAK_LIVE:
            record.memory["peak_live_bytes"] = rehearsed_peak(task, batch_size)
            record.memory["peak_live_inference_bytes"] = rehearsed_inference_peak(task, batch_size)
            task.budget.check(record.memory["peak_live_bytes"], PEAK_LIVE)
        under_way = Run(task, record, folder, tracker, progress, batch_size)
        under_way.measure_memory()
    except OverBudget as refusal:
        record.status, record.reason = "over_budget", str(refusal)
        tracker.start(record, folder, resumed_at=None)
        return None
    return under_way


class Run(Course):
    """One run under way."""

    def __init__(
        self, task: Task, record: RunRecord, folder: Path, tracker: Tracker, progress: Progress, batch_size: int
    ) -> None:
        super().__init__(task, record, folder, batch_size)
        self.tracker, self.progress = tracker, progress
        self.pace = Pace(task.training.evaluations, limited=task.training.seconds is not None)
        self.scored = task.dataset.test.to(task.device)
        self.limit = Limit(task.budget, task.device)
        self.best = Best(task, folder)
        self.will_tell(nobody_listens)
        self.unread: list[Report | Deferred] = []  # of the steps since the last reading

    def complete(self) -> RunRecord:
        """Train to the end, or until stopped, diverged or out of the memory that is allowed."""
        resumed_at = self.stand()
        self.announce(resumed_at)
        try:
            return self.train(resumed_at)
        except OverBudget as exhausted:
            return self.give_up(exhausted)
        finally:
            if self.group:
                self.group.end()

    def will_tell(self, tell: Tell) -> None:
        """From now on `tell` hears how long the run takes."""
        self.forecast = Forecast(tell, self.task.training, self.steps, self.batches.batch_size)

    def announce(self, resumed_at: int | None) -> None:
        """Record that the run is under way, and tell what is ahead."""
        take_up(self.record, resumed_at or 0)
        self.tracker.start(self.record, self.folder, resumed_at)
        write_run(self.folder, self.record)
        made = 0 if resumed_at is None else self.position.evaluations + 1
        self.forecast.before(self.position.step, self.clock.train_seconds, made)

    def train(self, resumed_at: int | None) -> RunRecord:
        with Interruption() as interruption, self.clock.noticing_stops():
            if resumed_at is None:
                self.evaluate()
            self.renew_limit()
            while self.done() < 1.0:
                if interruption.requested:
                    return self.interrupt()
                if not self.train_one_step():
                    break
                self.foretell()
                if self.pace.is_due(self.done(), self.position.evaluations, self.clock.train_seconds):
                    self.clock.settle()
                    if not self.read():
                        break
                    self.evaluate()
                    self.save()
                    self.renew_limit()
        return self.finish()

    def done(self) -> float:
        """The part of this run that is over, by steps or by seconds, whichever is further."""
        by_seconds = self.clock.train_seconds / self.task.training.most_seconds
        return max(self.position.step / self.steps, by_seconds)

    def train_one_step(self) -> bool:
        """One step on the clock; False when a loss is known not to be finite."""
        step = self.position.step
        self.agree(step)
        with self.limit, self.clock.training():
            inputs, labels = self.batches.batch(step)
            report = self.learner.step(Batch(inputs, labels, step, self.epoch(step), self.batches.chosen(step)))
        self.position.step += 1
        self.unread.append(report)
        return not report.is_known or self.read()

    def foretell(self) -> None:
        clock, made = self.clock, self.position.evaluations + 1  # one more comes before the first step
        self.forecast.after_step(self.position.step, clock.train_seconds, made, clock.eval_seconds)

    def read(self) -> bool:
        """Take up what the steps since the last reading report; False when a loss is not finite, and then the run
        stands where that step ended."""
        unread, self.unread = self.unread, []
        first = self.position.step - len(unread)
        for step, report in enumerate(unread, first):
            known = report.read()
            self.position.advance(known)
            if not math.isfinite(known.loss):
                self.position.step = step + 1
                self.record.status = "diverged"
                self.record.reason = f"loss is {known.loss} at step {step}; lower the learning rate or clip the slope"
                return False
        return True

    def evaluate(self) -> None:
        """Score the model at rest and record a row; the training clock stands still."""
        with self.clock.evaluation(), self.pace.evaluating(self.done()):
            result = score(self.learner.resting_model(), self.scored, self.encode)
        position, scored = self.position, self.task.dataset.scored
        row = {
            "step": position.step,
            "epoch": self.epoch(position.step),
            "done": self.done(),
            "examples_seen": position.step * self.batches.batch_size,
            **self.clock.state_dict(),
            "forward_passes": position.forward_passes,
            "backward_passes": position.backward_passes,
            "train_loss": position.loss_sum / position.loss_count if position.loss_count else None,
            **result.as_dict(scored),
            **position.scalars,
        }
        self.best.consider(result, position, self.learner.resting_model)
        if position.step > 0:
            position.evaluations = self.pace.passed(self.done(), position.evaluations)
        position.loss_sum, position.loss_count = 0.0, 0
        append_eval(self.folder, row)
        self.tracker.log(row)
        self.progress(self.done(), result, self.clock.train_seconds)

    def renew_limit(self) -> None:
        """Training has the budget to itself again after evaluation and recording, which are outside of it."""
        self.limit.renew(resident=weight_bytes(self.task.model))

    def held_before(self) -> dict[str, int]:
        """What the process held before a budget that is enforced: interpreter and libraries, without the weights.

        On a CPU the size of the data segment, which is what the limit counts.
        """
        if not self.task.budget.enforce:
            return {}
        return {"enforced_baseline_bytes": self.limit.baseline_bytes - weight_bytes(self.task.model)}

    def measure_memory(self) -> None:
        """Record the measured peak of two throwaway steps, and of inference on the same batch.

        Raises OverBudget when the budget has a say in it and does not allow them.
        """
        batch = part_of(Batch(*self.batches.batch(0), step=0, epoch=0.0), 0, self.task.workers)
        measured = peak_of_training(self.task, batch, self.limit)
        self.record.memory |= {
            **measured.as_dict(),
            "measured_over_analytic": measured.tensors.bytes / self.record.memory["analytic"]["total"],
            "measured_inference_peak_bytes": inference_peak(self.task.model, batch),
            **self.held_before(),
        }
        self.task.budget.check(measured.tensors.bytes, MEASURED)

    def save(self) -> None:
        super().save()
        self.best.tidy(self.position)

    def interrupt(self) -> RunRecord:
        self.clock.settle()
        if not self.read():
            return self.finish()
        self.save()
        self.close("interrupted")
        self.record.reason = f"stopped on request at step {self.position.step} of {self.steps}; run again to continue"
        return self.record

    def give_up(self, exhausted: OverBudget) -> RunRecord:
        """Close the record of a run that the budget ended; the weights may be perturbed and are not kept."""
        self.close("over_budget")
        self.record.reason = f"{exhausted}, at step {self.position.step} of {self.steps}"
        self.write_ended()
        return self.record

    def write_ended(self) -> None:
        """From here on the run has ended, even where what it needed cannot be deleted now: whoever meets it again does
        so."""
        write_run(self.folder, self.record)
        with suppress(OSError):
            checkpoint.clear_ended(self.folder)

    def finish(self) -> RunRecord:
        """Close the record: weights, summary, and whether the measured peak kept to the budget."""
        record, budget = self.record, self.task.budget
        self.check_last_score()
        self.close("finished" if record.status == "running" else record.status)
        measured = record.memory["measured_peak_bytes"] - record.memory.get("in_flash_bytes", 0)
        if not record.reason and not budget.allows(measured):
            record.reason = f"measured peak {budget.refusal(measured)}"
        model = self.learner.resting_model()
        if self.best.is_kept:
            self.best.take(model, self.position)
        if self.keeps_weights:
            checkpoint.save(self.folder / WEIGHTS, model.state_dict())
        if self.is_replayable and not self.best.is_kept:
            write_atomically(self.folder / REPLAY_LOG, bytes(self.losses))
        record.summary = self.summary(model)
        record.phase_seconds = self.learner.phases.seconds
        self.write_ended()
        return record

    def check_last_score(self) -> None:
        """A run whose last step left weights without a finite loss diverged too: no step's loss shows that."""
        last, scored = read_evals(self.folder)[-1], self.task.dataset.scored
        if self.record.status == "running" and last[f"{scored}_loss"] is None:
            self.record.status = "diverged"
            self.record.reason = (
                f"{scored} loss is not finite after step {self.position.step - 1}; lower the learning rate or clip "
                "the slope"
            )

    def close(self, status: Status) -> None:
        """Note how the run ends, and how often it was evaluated."""
        self.record.status = status
        self.record.execution = self.execution
        seal = seal_of_evals(self.folder)
        asked, made = self.task.training.evaluations, seal["rows"] - 1  # the one before training is not asked for
        self.record.evaluations = {"asked": asked, "made": made, **seal}
        end_session(self.record, self.position.step)

    def summary(self, model: nn.Module) -> dict[str, Any]:
        rows, scored = read_evals(self.folder), self.task.dataset.scored
        last = {name.removeprefix(f"{scored}_"): value for name, value in rows[-1].items()}
        return {
            **{f"final_{metric}": last.get(metric) for metric in (*METRICS, "loss", "recall")},
            **{f"best_{metric}": best_of(rows, f"{scored}_{metric}") for metric in METRICS},
            **({"kept_step": self.position.best_step} if self.best.is_kept else {}),
            **self.clock.state_dict(),
            "steps": self.position.step,
            "forward_passes": self.position.forward_passes,
            "backward_passes": self.position.backward_passes,
            "peak_bytes": self.record.memory["measured_peak_bytes"],
            "weights_sha256": checkpoint.weights_digest(model),
            **({"bytes_sent_by_each": self.group.bytes_sent} if self.group else {}),
        }


def best_of(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The highest of `name`; a run that an earlier version began has rows without it."""
    return max((row[name] for row in rows if name in row), default=None)
