"""Steps captured in graphs, behind the seam of a learner: the loop need not know.

The host launches a graph and goes on; it reads losses when a report is read. What cannot be captured is stepped as
ever, and the reason is told.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import nn

from tightfit.optimizers.base import Batch, Deferred, Learner, Report, is_noted, note, without_notes
from tightfit.optimizers.device_step import CAPACITY, DeviceStep
from tightfit.optimizers.graphs import Graphs, in_bucket
from tightfit.optimizers.zeroth_order import Values, ZerothOrderLearner

Capture = Literal["auto", "never", "always"]
NOT_BY_GRAPHS = "the host has a part in the steps of this method"


def captured(learner: Learner, capture: Capture, device: torch.device) -> tuple[Learner, dict[str, Any]]:
    """The learner that makes the steps of `learner` by graphs where `capture` asks for them and it is possible; and
    what is to be recorded of that, which is kept up to date.

    auto: on CUDA. always: elsewhere too, where the host does what a graph would.
    Raises ValueError when steps that cannot be captured always should be.
    """
    if capture == "never" or (capture == "auto" and device.type != "cuda"):
        return learner, {}
    obstacle = obstacle_to_capture(learner)
    if not obstacle:
        assert isinstance(learner, ZerothOrderLearner)
        made = CapturedLearner(learner, device)
        return made, made.execution
    if capture == "always":
        raise ValueError(f"training.capture=always but {obstacle}; choose training.capture=auto")
    return learner, {"steps": "eager", "reason": obstacle}


def obstacle_to_capture(learner: Learner) -> str:
    """Why the steps of `learner` cannot be captured; empty where they can."""
    if not isinstance(learner, ZerothOrderLearner):
        return NOT_BY_GRAPHS
    return learner.obstacle_to_capture


class SteppedByDevice:
    """A learner whose steps `device_step` makes: what is asked of it between them finds the weights at rest."""

    def __init__(self, learner: ZerothOrderLearner, device_step: DeviceStep) -> None:
        self._learner, self._device_step = learner, device_step
        self.phases = learner.phases

    def resting_model(self) -> nn.Module:
        self._device_step.rest()
        return self._learner.resting_model()

    def state_dict(self) -> dict[str, Any]:
        self._device_step.rest()
        return self._learner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._device_step.rest()
        self._learner.load_state_dict(state)


class CapturedLearner(SteppedByDevice):
    """Makes the steps of `learner` by graphs, one for each shape of batches.

    Between reports that are read, losses are on the device: `Deferred` reports are of those.
    """

    def __init__(self, learner: ZerothOrderLearner, device: torch.device) -> None:
        super().__init__(learner, DeviceStep([learner.perturbation()], self._losses, device))
        self._model, self.undifferentiated = learner.model, learner.undifferentiated
        written = list(self._model.buffers())
        self._graphs = Graphs(self._device_step, lambda: self._device_step.idling(written))
        self._values: Values | None = None  # on the device
        self._next: int | None = None  # the step that the device counts next
        self._unread: list[tuple[Deferred, Values]] = []
        self.execution: dict[str, Any] = {"steps": "captured" if device.type == "cuda" else "as captured, by the host"}

    def step(self, batch: Batch) -> Report | Deferred:
        if "reason" not in self.execution and not is_noted(self._learner.objective):
            try:
                return self._step_by_graph(batch)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # of a capture: replaying raises nothing
                self.execution |= {"steps": "eager", "reason": str(error).partition("\n")[0]}
        self._read()
        self._device_step.rest()
        self._next = None
        return self._learner.step(batch)

    def _step_by_graph(self, batch: Batch) -> Deferred:
        if len(self._unread) == CAPACITY:
            self._read()
        values = self._learner.values_at(batch.epoch)
        if values != self._values:
            self._device_step.set_values([(*values, 0.0)])
            self._values = values
        if batch.step != self._next:
            self._learner.resting_model()
            self._device_step.set_step(batch.step)
        with self.phases("step"):
            self._graphs(in_bucket(batch.inputs, self._model), batch.labels)
        self._next = batch.step + 1
        deferred = Deferred(self._read)
        self._unread.append((deferred, values))
        return deferred

    def _losses(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return without_notes(self._learner.objective)(self._model, Batch(inputs, labels, 0, 0.0)).view(1)

    def _read(self) -> None:
        """Give the reports made so far their losses, and note these up to the first that is not finite."""
        unread, self._unread = self._unread, []
        losses = [losses for (losses,) in self._device_step.read()] if unread else []
        for (deferred, (_, eps, clip)), of_step in zip(unread, losses, strict=True):
            deferred.report = self._learner.report_of(of_step, eps, clip)
        note(self._learner.objective, until_not_finite(losses))


def until_not_finite(losses: list[list[float]]) -> list[float]:
    """The losses of all steps, in order, up to the first step that has one that is not finite: its are the last."""
    kept: list[float] = []
    for of_step in losses:
        kept += of_step
        if not all(map(math.isfinite, of_step)):
            break
    return kept
