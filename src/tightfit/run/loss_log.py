"""The losses of a run's forward passes, in order: all that a zeroth-order run adds to its starting point.

Directions come from seeds, so the losses give every step again without a forward pass: four bytes a pass instead of
the weights.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch

from tightfit.optimizers.base import Batch, Objective, Predictor


class LossLog:
    """An objective that notes each loss it gives. Inside `replaying` it gives noted losses instead, of the type and on
    the device that they were, so that stepping a learner through them rebuilds its weights."""

    def __init__(self, objective: Objective) -> None:
        self.losses = array("f")
        self.objective = objective
        self._given: int | None = None  # of the noted losses, while they are replayed

    def __call__(self, model: Predictor, batch: Batch) -> torch.Tensor:
        if self._given is not None:
            return torch.tensor(self._next(), device=batch.labels.device)
        loss = self.objective(model, batch)
        if loss.dtype != torch.float32:
            raise ValueError(
                f"a log of losses gives back float32, but this loss is {loss.dtype}; let the objective return float32"
            )
        self.losses.append(loss.item())  # which an array of floats holds exactly
        return loss

    def note(self, losses: Sequence[float]) -> None:
        """Note losses that `objective` gave, float32 as ever, to somebody who could not let them be noted then."""
        self.losses.extend(losses)

    @property
    def is_noted(self) -> bool:
        """Whether the next loss is given without a pass."""
        return self._given is not None

    def __len__(self) -> int:
        """How many losses are noted."""
        return len(self.losses)

    @contextmanager
    def replaying(self, losses: bytes) -> Generator[None]:
        """Inside, `losses` are given one by one; after it, noting goes on behind them.

        Raises ValueError when they are no whole number of losses, and when more or fewer are asked for inside.
        """
        self.continue_after(losses)
        self._given = 0
        yield
        if self._given < len(self.losses):
            raise ValueError(f"the log holds {len(self.losses)} losses, but the steps took {self._given}")
        self._given = None

    def _next(self) -> float:
        given = self._given or 0
        if given == len(self.losses):
            raise ValueError(f"the log holds {given} losses, but the steps took more; it was cut")
        self._given = given + 1
        return self.losses[given]

    def continue_after(self, losses: bytes) -> None:
        """Take up noting after `losses`.

        Raises ValueError when they are no whole number of losses.
        """
        if len(losses) % self.losses.itemsize:
            raise ValueError(f"a log of losses has 4 bytes each, but this one has {len(losses)}; it was cut")
        self.losses = array("f", losses)
        if sys.byteorder == "big":
            self.losses.byteswap()

    def __bytes__(self) -> bytes:
        losses = array("f", self.losses)
        if sys.byteorder == "big":
            losses.byteswap()
        return losses.tobytes()
