"""Directions that remember: each is drawn in part around zero, in part around the direction that was kept before.

ż = √α z₁ and z̈ = h + √(1 − α) z₂, with independent z₁ and z₂ and the kept h; the direction is m = β ż + (1 − β) z̈.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from tightfit.numerics.noise.perturbation import KernelName, Move, Noise, Perturbation, Piece

DRAWS = (0, 1)  # of a step: those of z₁ and of z₂


@dataclass(frozen=True)
class Mixture:
    """What directions are made of. alpha: the variance of ż, and 1 less that of z̈; beta: the share of ż."""

    alpha: float = 1.0
    beta: float = 1.0


class DriftingPerturbation(Perturbation):
    """As Perturbation, of one such direction a step. `mixture` may be set, and `kept` changed, while weights rest."""

    def __init__(
        self, parameters: Iterable[tuple[str, nn.Parameter]], seed: int, noise: Noise, kernel: KernelName
    ) -> None:
        super().__init__(parameters, seed, len(DRAWS), noise, kernel)
        self.mixture = Mixture()
        self.kept: dict[nn.Parameter, torch.Tensor] = {}  # flat, float32 or longer; empty before the first direction

    def begin(self) -> None:
        """Nothing is kept before the first step."""
        self.kept = self.kept or {
            parameter: torch.zeros_like(stream.weights, dtype=torch.promote_types(parameter.dtype, torch.float32))
            for parameter, stream in self.streams.items()
        }

    def parts(self, piece: Piece) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """ż, z̈ and m of a piece, (n,) each."""
        kept, (first, second) = self.kept[piece.parameter][piece.place], piece.directions
        around_zero = first.to(kept.dtype).mul_(math.sqrt(self.mixture.alpha))
        around_kept = second.to(kept.dtype).mul_(math.sqrt(1 - self.mixture.alpha)).add_(kept)
        return (
            around_zero,
            around_kept,
            (around_zero * self.mixture.beta).add_(around_kept, alpha=1 - self.mixture.beta),
        )

    def add_all_(self, moves: Iterable[Move], stochastically: bool = False) -> None:
        for scale, step, _ in moves:
            self.sweep(partial(self._add, scale, stochastically), step, DRAWS)

    def write(self, parameter: nn.Parameter, target: torch.Tensor, scale: float, step: int, query: int = 0) -> None:
        def copy(piece: Piece) -> None:
            target[piece.place] = self.parts(piece)[2].mul_(scale).add_(piece.weights)

        self.sweep_one(parameter, copy, step, DRAWS)

    def _add(self, scale: float, stochastically: bool, piece: Piece) -> None:
        change = self.parts(piece)[2].mul_(scale)
        if stochastically:
            piece.add_(change)
        else:
            piece.weights.copy_(change.add_(piece.weights))
