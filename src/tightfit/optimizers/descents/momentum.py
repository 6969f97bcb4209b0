"""ZO-SGD with momentum: each step follows a fading sum of the estimates so far.

m ← β m + Σ s z / q and θ ← θ − lr m, as in `torch.optim.SGD(momentum=β)`: the estimate counts in full, not by 1 − β, so
that a slope that stays the same moves the weights 1 / (1 − β) times as far in the end.
Source: the momentum baseline of ZO-Bench (Zhang et al., 2024), read in its public trainer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tightfit.optimizers.descents.elementwise import Elementwise
from tightfit.optimizers.schedules import check_each


@dataclass(frozen=True)
class Momentum(Elementwise):
    """beta: what is left of the sum a step later; from 0, which is a step by the estimate alone, to less than 1."""

    beta: float = 0.9

    kind = "momentum"
    moments = ("momentum",)

    def __post_init__(self) -> None:
        check_each("descent.beta", self.beta, lambda beta: 0 <= beta < 1, "from 0 to less than 1")

    def change(self, estimate: torch.Tensor, moments: list[torch.Tensor], lr: float, count: int) -> torch.Tensor:
        (momentum,) = moments
        momentum.mul_(self.beta).add_(estimate)
        return torch.mul(momentum, -lr, out=estimate)
