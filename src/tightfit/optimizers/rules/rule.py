"""The seam between backpropagation and an update rule: two types, no behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import nn

from tightfit.memory.table import LayerRow

Named = Sequence[tuple[str, nn.Parameter]]  # parameters, with their names in the model


class Stepper(Protocol):
    """A rule at work on some parameters; owns its state."""

    def step_(self, lr: float) -> None:
        """Move each parameter that has a gradient, at the rate `lr`, and free the gradient."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on beside the weights."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Rule(Protocol):
    """An update rule with its hyperparameters, frozen. The rate is not among them: it is the method's, by schedule."""

    @property
    def kind(self) -> str:
        """What the record of a run calls the rule."""
        ...

    def state_bytes(self, row: LayerRow) -> int:
        """Bytes that stay between steps for the trained tensors of `row`, in its element size."""
        ...

    def begin(self, parameters: Named, seed: int) -> Stepper:
        """Ready to step `parameters`; nothing of their size is allocated before the first step.

        seed: of the run; a rule that draws has streams of its own under it, by its name, a tensor's and a step.
        """
        ...
