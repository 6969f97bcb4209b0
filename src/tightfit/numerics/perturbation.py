"""Seeded Gaussian perturbation of weights, in place, with the direction regenerated instead of stored.

The direction z of a step is a pure function of (root seed, tensor name, step, query). It is drawn a few
thousand numbers at a time, added and forgotten: no copy of a tensor's size ever exists, and the piece stays
in the processor's cache between being drawn and being added.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from tightfit.seeds import derive, permute32

# Elements drawn at once. A multiple of 16, because PyTorch's CPU generator draws normals sixteen at a time:
# other pieces would give other numbers.
PIECE = 16384


class Perturbation:
    """Moves a set of named parameters along seeded Gaussian directions.

    parameters: (name, tensor) pairs. A tensor's stream depends on its own name alone, so training fewer
        tensors (ElasticZO) draws the same directions for those that remain.
    seed: the root seed of the run.
    queries: directions per step.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], seed: int, queries: int = 1) -> None:
        self._streams = [
            (
                parameter.data.view(-1).split(PIECE),
                derive(seed, "perturbation", name),
                torch.Generator(device=parameter.device),
            )
            for name, parameter in parameters
        ]
        self._queries = queries

    def add_(self, scale: float, step: int, query: int = 0) -> None:
        """Add `scale` × z(step, query) to the parameters in place."""
        counter = step * self._queries + query
        for pieces, key, generator in self._streams:
            generator.manual_seed(permute32(counter, key))
            for piece in pieces:
                piece.add_(torch.empty_like(piece).normal_(generator=generator), alpha=scale)
