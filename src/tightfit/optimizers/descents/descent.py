"""The seam between slopes along random directions and the step they make: two types, no behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tightfit.memory.table import LayerRow
from tightfit.numerics.noise.probes import Probe, Restore
from tightfit.optimizers.directions.direction import Direction, Parameters


class Descender(Protocol):
    """A descent at work on some parameters; owns its state."""

    def step_(self, probe: Probe, lr: float, slopes: Sequence[float], step: int) -> None:
        """Move the weights at the rate `lr`, by `slopes` along the directions of `step`: one each, in order.

        The probe may put that off until its next probe or `rest`.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on beside the weights."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Descent(Protocol):
    """A descent with its hyperparameters, frozen. The rate is not among them: it is the method's, by schedule."""

    @property
    def kind(self) -> str:
        """What the record of a run calls the descent."""
        ...

    def check(self, queries: int, direction: Direction) -> None:
        """Raise ValueError for settings of the method that the descent cannot serve. queries: the fewest of a step."""
        ...

    def state_bytes(self, rows: Sequence[LayerRow]) -> int:
        """Bytes that stay between steps for the trained tensors of `rows`."""
        ...

    def sweeps(self, queries: int, restore: Restore) -> int:
        """Passes over the trained weights, or over as large a state, in the update of a step: see `memory.cost`."""
        ...

    def begin(self, parameters: Parameters, queries: int) -> Descender:
        """Ready to move `parameters` along at most `queries` directions a step; nothing of their size is allocated
        before the first step."""
        ...
