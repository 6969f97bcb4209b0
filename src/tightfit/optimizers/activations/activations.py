"""The seam between backpropagation and what autograd keeps: one type, no behaviour."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.table import LayerTable
from tightfit.optimizers.phases import Phases

Keeping = Callable[[], AbstractContextManager[object]]  # entered around a forward pass and its backward pass


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
        """`kept`, which holds every activation and its error, as this policy has it."""
        ...

    def prepare(self, model: nn.Module, phases: Phases) -> Keeping:
        """What to enter around each pass of `model`, which is as it was outside.

        phases: where time spent on computing again is noted. Raises ValueError for a model it cannot serve.
        """
        ...
