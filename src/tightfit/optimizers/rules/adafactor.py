"""Adafactor (Shazeer and Stern, 2018) by PyTorch: of a matrix one mean of squares for each row and each column is kept.

There is no first moment. The rate is relative: a tensor moves by at most `clip` times lr times the root mean square of
its weights, or `least` where these are smaller, and the rate is at most 1/√step whatever lr is. No weight decay. Of a
tensor with more than two axes PyTorch factors the last two: kernels of a convolution are many small matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from tightfit.memory.table import LayerRow
from tightfit.optimizers.rules.rule import Named, Stepper
from tightfit.optimizers.rules.torch_stepper import TorchStepper
from tightfit.optimizers.schedules import check_each, check_positive


@dataclass(frozen=True)
class Adafactor:
    """beta2_decay: step to this power is what a new mean of squares counts by; least: a tensor moves as if its weights
    were at least so large; clip: of the root mean square of a step, before the rate."""

    beta2_decay: float = -0.8
    least: float = 1e-3
    clip: float = 1.0

    kind = "adafactor"

    def __post_init__(self) -> None:
        check_each("rule.beta2_decay", self.beta2_decay, lambda power: -math.inf < power <= 0, "finite and at most 0")
        check_positive("rule.least", self.least)
        check_each("rule.clip", self.clip, lambda most: 1 <= most < math.inf, "finite and from 1")

    def state_bytes(self, row: LayerRow) -> int:
        """A number for each row and column of the last two axes; of a vector one for each number."""
        return row.bytes_per_parameter * sum(map(numbers_kept, row.shapes))

    def begin(self, parameters: Named, seed: int) -> Stepper:
        del seed  # it draws nothing
        tensors = [parameter for _, parameter in parameters]
        eps = (None, self.least)
        return TorchStepper(torch.optim.Adafactor(tensors, 0.0, self.beta2_decay, eps=eps, d=self.clip, foreach=False))


def numbers_kept(shape: tuple[int, ...]) -> int:
    count = math.prod(shape)
    return count // shape[-1] + count // shape[-2] if len(shape) > 1 else count
