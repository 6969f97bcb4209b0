"""ZO-signSGD: steps that go by signs alone, so that all are as long.

`Sign` moves each weight by the rate, against the sign of its own number of the estimate (Liu et al., 2019). `SlopeSign`
moves along whole directions, against the sign of the slope (`zo_sign_opt` of ZO-Bench, Zhang et al., 2024, read in its
public trainer). Where directions are made of signs and a step has one, the two are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tightfit.optimizers.descents.along import AlongDirections
from tightfit.optimizers.descents.elementwise import Elementwise


@dataclass(frozen=True)
class Sign(Elementwise):
    """θ ← θ − lr sign(Σ s z)."""

    kind = "sign"

    def change(self, estimate: torch.Tensor, moments: list[torch.Tensor], lr: float, count: int) -> torch.Tensor:
        return estimate.sign_().mul_(-lr)


@dataclass(frozen=True)
class SlopeSign(AlongDirections):
    """θ ← θ − lr Σ sign(s) z / q."""

    kind = "slope_sign"

    def coefficients(self, slopes: Sequence[float]) -> Sequence[float]:
        return [sign(slope) for slope in slopes]


def sign(number: float) -> float:
    """−1, 0 or 1; what is not a number stays so."""
    return number if number != number else float((number > 0) - (number < 0))
