"""The host's part of training: what a program is called with, and what is made of the losses it returns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tightfit.program.runtimes import Arguments, Program


def arguments(
    inputs: np.ndarray, labels: np.ndarray, step: int, lr: float, eps: float, slopes: Sequence[float]
) -> Arguments:
    """What `TrainingStep.forward` is called with."""
    rate, length = (np.array([number], dtype=np.float32) for number in (lr, eps))
    return inputs, labels, np.array([step], dtype=np.int64), rate, length, np.array(slopes, dtype=np.float32)


class Driver:
    """Takes a program from step to step; the update that a step asks for is made by the next call."""

    def __init__(self, program: Program, queries: int) -> None:
        self._program = program
        self._pending: tuple[float, list[float]] = 0.0, [0.0] * queries

    def step(self, inputs: np.ndarray, labels: np.ndarray, step: int, lr: float, eps: float, clip: float) -> np.ndarray:
        """The losses (2q,) of a step on a batch: at + of each direction, then at −."""
        losses = self._program.call(arguments(inputs, labels, step, self._pending[0], eps, self._pending[1]))
        plus, minus = np.split(losses.astype(np.float64), 2)
        self._pending = lr, np.clip((plus - minus) / (2 * eps), -clip, clip).tolist()
        return losses

    def flush(self, inputs: np.ndarray, labels: np.ndarray, step: int, eps: float) -> None:
        """Make the pending update too, by a call whose losses nobody reads; `step` is the one that would follow."""
        self.step(inputs, labels, step, 0.0, eps, 0.0)
