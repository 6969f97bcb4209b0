"""The seam between backpropagation and what autograd keeps: two types, and the simplest of the second."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.table import LayerTable
from tightfit.optimizers.base import Batch
from tightfit.optimizers.phases import Phases


class Keeper(Protocol):
    """A policy at work on one model, which is as it was outside; owns what it remembers between steps."""

    def around(self, batch: Batch) -> AbstractContextManager[object]:
        """What to enter around the forward pass over `batch` and its backward pass."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on beside the weights."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Activations(Protocol):
    """A policy of keeping activations, frozen."""

    @property
    def kind(self) -> str:
        """What the record of a run calls the policy."""
        ...

    @property
    def forward_passes(self) -> int:
        """Forward passes of a step, those that compute again included."""
        ...

    def memory(self, kept: Breakdown, table: LayerTable, batch_size: int) -> Breakdown:
        """`kept`, which holds every activation and its error, as this policy has it.

        Raises ValueError for a table of a model that it cannot serve.
        """
        ...

    def prepare(self, model: nn.Module, phases: Phases, seed: int) -> Keeper:
        """Ready to train `model`.

        phases: where time spent on computing again is noted. seed: the root of all streams that the policy draws from.
        Raises ValueError for a model it cannot serve.
        """
        ...


@dataclass(frozen=True)
class Forgetful:
    """A keeper that remembers nothing between steps, and does the same around each."""

    enter: Callable[[], AbstractContextManager[object]]

    def around(self, batch: Batch) -> AbstractContextManager[object]:
        return self.enter()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
