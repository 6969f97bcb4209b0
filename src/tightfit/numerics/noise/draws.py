"""What forward passes draw by themselves, such as the masks of dropout: the same in all passes of a step.

The slope is then that of one loss. Under two masks it would be their difference over 2 eps, which is noise.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import nn

from tightfit.numerics.seeds import derive, permute32


class Draws:
    """PyTorch's global generators as the passes of `model` find them, a function of (root seed, step) alone."""

    def __init__(self, model: nn.Module, seed: int) -> None:
        self._key = derive(seed, "draws of forward passes")
        self._generators = [torch.default_generator]
        weights = next(model.parameters(), None)
        # Tensors without data may be on a device that is not there.
        if weights is not None and weights.is_cuda and torch.cuda.is_initialized():
            self._generators.append(torch.cuda.default_generators[weights.device.index])

    @contextmanager
    def of(self, step: int) -> Generator[None]:
        """Inside, the generators begin anew for `step`; outside, they are as if nothing had been drawn."""
        before = [generator.get_state() for generator in self._generators]
        for generator in self._generators:
            generator.manual_seed(permute32(step, self._key))
        try:
            yield
        finally:
            for generator, state in zip(self._generators, before, strict=True):
                generator.set_state(state)
