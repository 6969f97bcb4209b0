"""A run's way from its first step to its last: what each step takes, and where it stands, on disk and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tightfit.datasets.batches import Batches, encoding_for
from tightfit.optimizers.base import Batch, Learner, Report
from tightfit.optimizers.captured import Capture, captured
from tightfit.optimizers.shared import InTurn, Sharing
from tightfit.optimizers.zeroth_order import ZerothOrderLearner
from tightfit.records.record import RunRecord, keep_evals, seal_of_evals
from tightfit.run import checkpoint
from tightfit.run.checkpoint import CHECKPOINT
from tightfit.run.clock import Clock
from tightfit.run.evaluate import cross_entropy
from tightfit.run.group import Group, joined, world
from tightfit.run.loss_log import LossLog
from tightfit.run.task import Task

STEPS_TO_AGREE = 100  # a digest of the weights costs about as much as a pass over them


@dataclass
class Position:
    """Where a run stands between two steps; with the learner's state, all that a checkpoint holds."""

    step: int = 0
    evaluations: int = 0  # of those asked for, how many are over: made, or left out because they take too long
    forward_passes: int = 0
    backward_passes: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    scalars: dict[str, float] = field(default_factory=dict)
    best_step: int = -1  # of the evaluation whose weights are kept, where that is asked for, and how good it was
    best_score: float = -math.inf
    best_sha256: str = ""

    def advance(self, report: Report) -> None:
        """Past a step; without its number, which is counted as it is made."""
        self.forward_passes += report.forward_passes
        self.backward_passes += report.backward_passes
        self.loss_sum += report.loss
        self.loss_count += 1
        self.scalars = dict(report.scalars)


class Course:
    """The way of a run, which `bind` gives a learner and `resume` takes to its checkpoint."""

    def __init__(self, task: Task, record: RunRecord, folder: Path, batch_size: int) -> None:
        self.task, self.record, self.folder = task, record, folder
        self.clock = Clock(task.device)
        self.position = Position()
        self.encode = encoding_for(task.model, task.dataset)
        self.batches = Batches(task.dataset, batch_size * task.workers, task.seed, task.device, self.encode)
        self.steps = task.training.steps(self.batches.steps_per_epoch)
        self.losses = LossLog(cross_entropy)
        self.group: Group | None = None  # of the processes that share the steps
        task.model.to(task.device)

    def stand(self, capture: Capture | None = None) -> int | None:
        """Bind the model and continue from the checkpoint; returns its step, or None for a run from the beginning."""
        self.bind(capture)
        self.record.model["initial_weights_sha256"] = checkpoint.weights_digest(self.task.model)
        return self.resume()

    def bind(self, capture: Capture | None = None) -> None:
        """capture: instead of what the run's settings say."""
        task = self.task
        learner = task.optimizer.bind(task.model, self.losses, task.seed)
        if task.workers > 1:
            self.share(learner)
        self.learner, self.execution = captured(learner, capture or task.training.capture, task.device)
        self.buffers = checkpoint.buffers_digest(task.model)

    def share(self, learner: Learner) -> None:
        """Let `learner` share its steps with the other processes, or be all workers in turn where this is the only one.

        Raises ValueError for a method whose steps cannot be shared.
        """
        if not isinstance(learner, ZerothOrderLearner):
            raise ValueError("distributed=zo shares the losses along directions; choose optimizer=mezo")
        losses = 2 * learner.queries // self.task.workers
        self.group = joined(losses) if world() > 1 else None
        learner.share(Sharing(self.task.workers, self.group or InTurn()))

    def agree(self, step: int) -> None:
        """Now and then, let the next step see that all workers have the same weights."""
        if self.group and step % STEPS_TO_AGREE == 0:
            self.group.will_compare(checkpoint.weights_digest(self.learner.resting_model()))

    def epoch(self, step: int) -> float:
        """The epoch of the full protocol in which `step` stands."""
        return step * self.task.training.epochs / self.steps

    def replay(self, losses: bytes, steps: int) -> None:
        """Take the learner through its first `steps` steps by the losses noted then, without forward passes.

        Raises ValueError when `losses` are not as many as the steps took.
        """
        with self.losses.replaying(losses):
            for step in range(steps):
                self.learner.step(Batch(*self.batches.batch(step), step, self.epoch(step)))

    @property
    def is_replayable(self) -> bool:
        """Whether the losses noted are all that the weights depend on.

        A pass over several perturbed copies gives several losses, one that compares integers none. Statistics that
        passes move, as those of batch normalisation, are not to be had without the passes.
        """
        position = self.position
        noted = position.backward_passes == 0 and position.forward_passes <= len(self.losses)
        return noted and checkpoint.buffers_digest(self.task.model) == self.buffers

    @property
    def keeps_weights(self) -> bool:
        return self.task.training.keep != "losses" or not self.is_replayable

    def resume(self) -> int | None:
        """Continue from the checkpoint in the folder; returns its step, or None for a run from the beginning."""
        path = self.folder / CHECKPOINT
        state = checkpoint.unseal(path, self.record.key, self.task.device)
        evals = state["evals"] if state else seal_of_evals(self.folder, most=0)
        keep_evals(self.folder, evals, otherwise=f"delete {path.name} to start the run again from its beginning")
        if state is None:
            return None
        self.take_up(state)
        return self.position.step

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.position = Position(**state["position"])
        if "learner" in state:
            self.learner.load_state_dict(state["learner"])
            self.losses.continue_after(state["losses"])
        else:
            self.replay(state["losses"], self.position.step)
        self.clock.load_state_dict(state["clock"])
        self.learner.phases.seconds = state["phases"]

    def save(self) -> None:
        state = {
            **({"learner": self.learner.state_dict()} if self.keeps_weights else {}),
            "losses": bytes(self.losses),
            "clock": self.clock.state_dict(),
            "phases": self.learner.phases.seconds,
            "position": asdict(self.position),
            "evals": seal_of_evals(self.folder),
        }
        checkpoint.seal(self.folder / CHECKPOINT, self.record.key, state)
