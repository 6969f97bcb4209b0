"""Runs that differ in seeds and scalars alone, trained side by side as one.

Their weights are stacked, one model computes for all of them (`torch.func.vmap`), and each step of all is one graph on
CUDA. Each run is evaluated, checkpointed and recorded as ever. Directions, moves and the order of data have the bits of
a run by itself; a forward pass of many rounds otherwise, so losses differ in their last digits. The seconds of each are
those that passed while all were trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap

from tightfit.optimizers.base import Batch, Learner, note, without_notes
from tightfit.optimizers.captured import NOT_BY_GRAPHS, SteppedByDevice, until_not_finite
from tightfit.optimizers.device_step import CAPACITY, DeviceStep, Tail
from tightfit.optimizers.graphs import Graphs, in_bucket
from tightfit.optimizers.zeroth_order import Values, ZerothOrderLearner
from tightfit.run.clock import COUNTED, Clock
from tightfit.run.interruption import Interruption
from tightfit.run.loop import Run


class CannotStack(ValueError):
    """Why runs cannot be trained as one; nothing was recorded of them."""


class Stack:
    """runs: with budgets that allow them. Raises CannotStack."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        self.resumed_at = stood_up(self.runs)
        self.step = self.resumed_at or 0
        self.steps = self.runs[0].steps
        device = self.runs[0].task.device
        self.clock, self._counted = Clock(device), dict.fromkeys(COUNTED, 0.0)
        self.under_way = list(enumerate(self.runs))
        self._model = self.runs[0].task.model
        self._weights = stacked([run.learner.resting_model() for run in self.runs])
        self.learners = [rebound(run) for run in self.runs]
        self.batches = BatchesOfRuns(self.runs)
        perturbations = [learner.perturbation() for learner in self.learners]
        self._device_step = DeviceStep(perturbations, self._losses, device, self._tail())
        self._device_step.set_step(self.step)
        self._graphs = Graphs(self._device_step, self._device_step.idling)
        self._values: list[list[Values]] = []  # of each run, for each step whose losses were not read
        self._on_device: list[tuple[float, float, float, float]] = []
        for run, learner in zip(self.runs, self.learners, strict=True):
            run.learner, run.execution = Lane(learner, self._device_step), {"stacked": len(self.runs)}
        try:
            self._graphs.prepare(*self._batch())
        except RuntimeError as error:
            raise CannotStack(str(error).partition("\n")[0]) from error

    def _tail(self) -> Tail | None:
        learner = self.learners[0]
        weights = {name: self._weights[name] for name in learner.backpropagated}
        return Tail(weights, learner.feeds, self._gradients) if weights else None

    def _losses(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """inputs: (k, b, …); labels: (k, b)."""
        return vmap(self._loss)({}, self._weights, inputs, labels)

    def _gradients(self, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        learned = {name: self._weights[name] for name in self.learners[0].backpropagated}
        return vmap(grad_and_value(self._loss))(learned, self._weights, inputs, labels)

    def _loss(
        self,
        learned: dict[str, torch.Tensor],
        weights: dict[str, torch.Tensor],
        inputs: torch.Tensor,
        labels: torch.Tensor,
    ) -> torch.Tensor:
        """Of one run, at `weights`, of which those `learned` are differentiated."""
        objective = without_notes(self.learners[0].objective)
        at = {**weights, **learned}
        return objective(lambda x: functional_call(self._model, at, (x,)), Batch(inputs, labels, 0, 0.0))

    def train(self, over: Callable[[int], None] = lambda number: None) -> None:
        """Train all runs to their ends, or until told to stop; `over` is told the number of each whose record says how
        it ended."""
        self._over = over
        for run in self.runs:
            run.announce(self.resumed_at)
        with Interruption() as interruption, self.clock.noticing_stops():
            if self.resumed_at is None:
                self._evaluate()
            while self.under_way and self.step < self.steps:
                if interruption.requested:
                    self._interrupt()
                    return
                self.train_one_step()
                self._foretell()
                if self._is_due():
                    self._read()
                    self._evaluate()
                    for _, run in self.under_way:
                        run.save()
        for number, run in self.under_way:
            run.finish()
            over(number)

    def _batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, labels = self.batches.of(self.step)
        return in_bucket(inputs, self._model), labels

    def train_one_step(self) -> None:
        if len(self._values) == CAPACITY:
            self._read()
        with self.clock.training():
            epoch = self.runs[0].epoch(self.step)
            values = [learner.values_at(epoch) for learner in self.learners]
            told = [(*own, each.rate_of_backpropagated(epoch)) for own, each in zip(values, self.learners, strict=True)]
            if told != self._on_device:
                self._device_step.set_values(told)
                self._on_device = told
            self._graphs(*self._batch())
            self._values.append(values)
        self.step += 1

    def _is_due(self) -> bool:
        """Runs of equal length are evaluated at the same steps, by the pace of any of them."""
        run = self.under_way[0][1]
        return run.pace.is_due(self.step / self.steps, run.position.evaluations, self.clock.train_seconds)

    def _foretell(self) -> None:
        """By the first run, as all take as long."""
        first, scoring = self.runs[0], sum(run.clock.eval_seconds for run in self.runs)
        first.forecast.after_step(self.step, self.clock.train_seconds, first.position.evaluations + 1, scoring)

    def _read(self) -> None:
        """Let each run take up its steps since the last reading; one that diverged ends, and is no more under way."""
        self.clock.settle()
        values, self._values = self._values, []
        losses = self._device_step.read()  # (n, k, 2q)
        now = self.clock.state_dict()
        passed = {name: now[name] - self._counted[name] for name in COUNTED}
        self._counted = now
        for number, run in list(self.under_way):
            learner, own = self.learners[number], [of_step[number] for of_step in losses]
            for of_step, of_runs in zip(own, values, strict=True):
                _, eps, clip = of_runs[number]
                run.unread.append(learner.report_of(of_step, eps, clip))
            note(learner.objective, until_not_finite(own))
            run.position.step += len(own)
            run.clock.load_state_dict({name: getattr(run.clock, name) + passed[name] for name in COUNTED})
            if not run.read():
                run.finish()
                self._over(number)
                self.under_way.remove((number, run))

    def _evaluate(self) -> None:
        for _, run in self.under_way:
            run.evaluate()

    def _interrupt(self) -> None:
        self._read()
        for number, run in self.under_way:
            run.interrupt()
            self._over(number)


class Lane(SteppedByDevice):
    """What a run of a stack asks of its learner: all but the steps, which the stack makes."""

    def step(self, batch: Batch) -> Any:
        raise NotImplementedError("a stack makes the steps of all its runs")


class BatchesOfRuns:
    """The batches of all runs at a step, (k, b, …), each in its own order; data that runs share are there once."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._each = [run.batches for run in runs]
        self._size, self._per_epoch = self._each[0].batch_size, self._each[0].steps_per_epoch
        self._groups: dict[int, list[int]] = {}  # runs, by their data
        for number, batches in enumerate(self._each):
            self._groups.setdefault(batches.examples.inputs.data_ptr(), []).append(number)
        in_groups = torch.tensor([number for group in self._groups.values() for number in group])
        self._in_order = in_groups.argsort().to(self._each[0].examples.labels.device)
        self._orders: tuple[int, list[torch.Tensor]] = (-1, [])

    def of(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, position = divmod(step, self._per_epoch)
        if self._orders[0] != epoch:
            groups = self._groups.values()
            self._orders = epoch, [torch.stack([self._each[run].order(epoch) for run in group]) for group in groups]
        chosen = [order[:, position * self._size : (position + 1) * self._size] for order in self._orders[1]]
        parts = zip(self._groups.values(), chosen, strict=True)
        inputs, labels = zip(*(self._each[group[0]].taken(which.reshape(-1)) for group, which in parts), strict=True)
        return self._by_run(torch.cat(inputs)), self._by_run(torch.cat(labels))

    def _by_run(self, rows: torch.Tensor) -> torch.Tensor:
        by_run = rows.view(len(self._each), self._size, *rows.shape[1:])
        return by_run if len(self._groups) == 1 else by_run[self._in_order]


def stood_up(runs: Sequence[Run]) -> int | None:
    """Bind each run and take it to its checkpoint; returns the step where all stand, None where all begin.

    Raises CannotStack where they do not fit together.
    """
    for run in runs:
        if reason := obstacle_to_stacking(run, runs[0]):
            raise CannotStack(reason)
    resumed = {run.stand(capture="never") for run in runs}  # the stack has a graph of its own
    if len(resumed) > 1:
        raise CannotStack("their checkpoints are not of the same step")
    for run in runs:
        learner = run.learner
        if reason := learner.obstacle_to_stacking if isinstance(learner, ZerothOrderLearner) else NOT_BY_GRAPHS:
            raise CannotStack(reason)
    return resumed.pop()


def obstacle_to_stacking(run: Run, first: Run) -> str:
    """Why `run` cannot go beside `first`; empty where it can."""
    if run.task.training != first.task.training or (run.steps, run.batches.batch_size) != (
        first.steps,
        first.batches.batch_size,
    ):
        return "they are not trained for as many steps of as many examples"
    if run.task.training.capture == "never":
        return "training.capture=never"
    if run.task.training.seconds is not None:
        return "they are trained for seconds, which a run has to itself"
    if run.task.budget.enforce:
        return "their budget is enforced, which is for a process with one run"
    if saved_buffers(run.task.model):
        return "their model keeps statistics, or other numbers beside its weights"
    if shapes_of(run.task.model) != shapes_of(first.task.model):
        return "their weights have other shapes"
    own, others = run.batches.examples, first.batches.examples
    if len(own) != len(others):
        return "their data are not as many"
    if hasattr(run.task.model, "pad") and own.inputs.data_ptr() != others.inputs.data_ptr():
        return "their texts are others, and so are their lengths"
    return "" if run.task.dataset.example_shape == first.task.dataset.example_shape else "their data have other shapes"


def saved_buffers(model: nn.Module) -> set[str]:
    """What is saved with the weights and is none of them; what is not saved, such as frequencies, is never written."""
    return model.state_dict().keys() - {name for name, _ in model.named_parameters(remove_duplicate=False)}


def shapes_of(model: nn.Module) -> list[tuple[str, torch.Size, torch.dtype]]:
    return [(name, parameter.shape, parameter.dtype) for name, parameter in model.named_parameters()]


def stacked(models: Sequence[nn.Module]) -> dict[str, torch.Tensor]:
    """The parameters of `models` by name, (k, …), in which the models' own are moved."""
    parameters = [dict(model.named_parameters()) for model in models]
    weights = {}
    for name in parameters[0]:
        weights[name] = torch.stack([of_model[name].data for of_model in parameters])
        for of_model, own in zip(parameters, weights[name], strict=True):
            of_model[name].data = own
    return weights


def rebound(run: Run) -> ZerothOrderLearner:
    """A learner of the run's weights where they are now."""
    learner: Learner = run.task.optimizer.bind(run.task.model, run.losses, run.task.seed)
    assert isinstance(learner, ZerothOrderLearner)
    return learner
