"""ZO-Adam and ZO-AdaMM: each weight's fading mean of its estimates over the root of that of their squares.

With `largest` and without `correct` it is ZO-AdaMM (Chen et al., 2019), unconstrained: the second mean is the largest
so far, and neither is corrected for its start at 0. Otherwise it is Adam (Kingma and Ba, 2015), and with both Adam's
variant AMSGrad. No weight decay. The rate is close to how far a weight moves, whatever the unit of the loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from tightfit.optimizers.descents.elementwise import Elementwise
from tightfit.optimizers.schedules import check_each, check_positive


@dataclass(frozen=True)
class Adam(Elementwise):
    """beta1, beta2: decay of the two means; eps: added to the root of the second; largest: divide by the root of the
    largest second mean so far; correct: for the start of both means at 0."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    largest: bool = False
    correct: bool = True

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            check_each(f"descent.{name}", getattr(self, name), lambda decay: 0 <= decay < 1, "from 0 to less than 1")
        check_positive("descent.eps", self.eps)

    @property
    def kind(self) -> str:
        return "adam" if self.correct or not self.largest else "adamm"

    @property
    def moments(self) -> tuple[str, ...]:
        return ("mean", "square", "largest") if self.largest else ("mean", "square")

    def change(self, estimate: torch.Tensor, moments: list[torch.Tensor], lr: float, count: int) -> torch.Tensor:
        mean, square = moments[:2]
        mean.lerp_(estimate, 1 - self.beta1)
        square.mul_(self.beta2).addcmul_(estimate, estimate, value=1 - self.beta2)
        of_mean = 1 - self.beta1**count if self.correct else 1.0
        of_square = 1 - self.beta2**count if self.correct else 1.0
        if self.largest:
            square = torch.maximum(moments[2], square, out=moments[2])
        root = torch.sqrt(square, out=estimate).div_(math.sqrt(of_square)).add_(self.eps)
        return torch.div(mean, root, out=root).mul_(-lr / of_mean)
