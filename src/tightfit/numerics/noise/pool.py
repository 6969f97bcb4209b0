"""Directions from a pool of a fixed size: a run of any length moves the weights by a sum of as many directions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from torch import nn

from tightfit.numerics.noise.perturbation import KernelName, Noise, Perturbation
from tightfit.numerics.seeds import derive, permute64

Draw = Literal["uniform", "cycle"]


class PooledPerturbation(Perturbation):
    """As Perturbation, with the first `size` of its directions alone.

    draw: how a query comes by its direction: by chance, a function of (seed, step, query), or one after the other and
    then from the first again.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        seed: int,
        queries: int,
        noise: Noise,
        kernel: KernelName,
        size: int,
        draw: Draw,
    ) -> None:
        super().__init__(parameters, seed, queries, noise, kernel)
        self._size, self._draw, self._key = size, draw, derive(seed, "seed pool")

    def counter(self, step: int, query: int) -> int:
        number = super().counter(step, query)
        return (number if self._draw == "cycle" else permute64(number, self._key)) % self._size
