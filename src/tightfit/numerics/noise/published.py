"""MeZO's perturbations in the arithmetic and the order of draws of its authors' code, to check their seeds and logs.

A step has a seed, from NumPy's legacy generator; z is drawn anew for each of four sweeps (+1, −2, +1, update), tensor
by tensor in the order of the model, whole and in the tensor's type; every sum makes a new tensor. So weights drift by
rounding, and three tensors of the largest one's size live beside the weights. The slope is taken in the type of the
losses and becomes a number after that; the model is in evaluation mode. Nothing else should be built on this.
Source: princeton-nlp/MeZO (Malladi et al., 2023), without weight decay, and with the clip of ours, which it lacks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import nn

TENSORS_HELD = 3  # z, a product of it, and the next product or the sum
SEEDS = 10**9


class Published:
    """A probe whose numbers are those of PyTorch's global generator after `torch.manual_seed(seed of the step)`."""

    def __init__(self, parameters: list[tuple[str, nn.Parameter]], seed: int) -> None:
        self._parameters = [parameter for _, parameter in parameters]
        self._root = seed
        self._offset = 0.0  # of the weights from rest

    def at(
        self, scale: float, step: int, query: int = 0, *, without_pass: bool = False
    ) -> AbstractContextManager[object]:
        self._move(scale, step)
        return nullcontext()

    def update_(self, lr: float, slope: float, step: int, query: int = 0) -> None:
        self._move(0.0, step)
        for parameter, z in self._directions(step):
            parameter.data = parameter.data - lr * (slope * z)

    def rest(self) -> None:
        """They are, after each update."""

    def state(self) -> list[float]:
        return []

    def load_state(self, state: list[float]) -> None:
        pass

    def _move(self, scale: float, step: int) -> None:
        """From the present offset to `scale`: by ±eps or −2 eps, multiplied in the order of the published code."""
        eps = abs(scale or self._offset)
        factor = round((scale - self._offset) / eps)
        for parameter, z in self._directions(step):
            parameter.data = parameter.data + factor * z * eps
        self._offset = scale

    def _directions(self, step: int) -> Iterator[tuple[nn.Parameter, torch.Tensor]]:
        generator = torch.Generator(device=self._parameters[0].device).manual_seed(seed_of(step, self._root))
        for parameter in self._parameters:
            shape, dtype, device = parameter.shape, parameter.dtype, parameter.device
            yield parameter, torch.normal(0.0, 1.0, shape, dtype=dtype, device=device, generator=generator)


def seed_of(step: int, root: int) -> int:
    """What the published code draws for `step`, if NumPy's global generator, seeded by `root`, serves nothing else."""
    return int(np.random.RandomState(root).randint(SEEDS, size=step + 1)[step])
