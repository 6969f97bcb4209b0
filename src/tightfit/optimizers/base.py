"""The seam between the runner and a training method: three types, and what they may say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.cost import Cost
from tightfit.memory.table import LayerTable
from tightfit.optimizers.phases import Phases


@dataclass(frozen=True)
class Batch:
    """The examples of one step, and where in training the step stands."""

    inputs: torch.Tensor  # (b, …)
    labels: torch.Tensor  # (b,)
    step: int  # counted from 0
    epoch: float  # in epochs of the full protocol: what schedules read
    examples: torch.Tensor | None = None  # (b,) int64, which of the training examples they are; None: not known


# A model, or anything else that answers inputs with logits: a tensor, or what `.float()` turns into one.
Predictor = Callable[[torch.Tensor], Any]
# The mean loss of a model on a batch, as a scalar tensor that can be differentiated where the model can.
Objective = Callable[[Predictor, Batch], torch.Tensor]


def is_noted(objective: Objective) -> bool:
    """Whether the next loss of `objective` is on record, so that no forward pass will be made for it: see `LossLog`."""
    return getattr(objective, "is_noted", False)


def without_notes(objective: Objective) -> Objective:
    """What `objective`, if it notes losses (see `LossLog`), notes the losses of."""
    return getattr(objective, "objective", objective)


def note(objective: Objective, losses: Sequence[float]) -> None:
    """Let `objective`, if it notes losses, note these, which were taken `without_notes`."""
    noting = getattr(objective, "note", None)
    if noting is not None:
        noting(losses)


@dataclass(frozen=True)
class Report:
    """What one step cost and saw."""

    loss: float  # mean over the batch; for perturbed passes, the mean of both
    forward_passes: int
    backward_passes: int
    scalars: dict[str, float] = field(default_factory=dict)
    is_known = True

    def read(self) -> Report:
        return self


class Deferred:
    """The report of a step whose losses are on the device until somebody reads it.

    fetch: gives this report, and perhaps others, its `report`.
    """

    is_known = False

    def __init__(self, fetch: Callable[[], None]) -> None:
        self._fetch = fetch
        self.report: Report | None = None

    def read(self) -> Report:
        """The device is waited for."""
        if self.report is None:
            self._fetch()
        assert self.report is not None
        return self.report


class Learner(Protocol):
    """A model being trained by one method; owns the weights.

    Between steps they may be anywhere: who reads them asks for the model at rest or for the state.
    """

    phases: Phases

    def step(self, batch: Batch) -> Report | Deferred:
        """Train on one batch."""
        ...

    def resting_model(self) -> nn.Module:
        """The model with unperturbed weights, ready to score until the next step."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def undifferentiated(learner: Learner) -> list[nn.Parameter]:
    """Parameters that require gradients, and of which the passes of `learner` keep nothing all the same."""
    return getattr(learner, "undifferentiated", [])


@dataclass(frozen=True)
class Facts:
    """What a method is made of, for the record of its runs; None where it has no such part."""

    forward_passes: int  # of a step; where steps differ, of those that make most
    backward_passes: int
    queries: int = 0  # directions probed in a step
    noise: str | None = None  # what a direction is made of
    rule: str | None = None  # how a gradient becomes a step
    descent: str | None = None  # how slopes along directions become a step
    activations: str | None = None  # what is kept of them for a backward pass
    adapter: str | None = None  # that the method itself gives a model
    integer_loss: bool = False  # no loss is taken in floating point


class Optimizer(Protocol):
    """A training method with its hyperparameters, frozen."""

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """Bytes a step holds, in the `all_buffers_live` convention, known before anything is allocated."""
        ...

    def cost(self, table: LayerTable, batch_size: int) -> Cost:
        """What a step does, in passes and sweeps."""
        ...

    def facts(self) -> Facts:
        """What the method is made of."""
        ...

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        """A learner that trains `model` in place, as far as its parameters require gradients now.

        Raises ValueError when none does, or when the method trains other numbers than theirs.
        """
        ...
