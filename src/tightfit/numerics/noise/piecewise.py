"""Directions that are no independent numbers, made a piece at a time: no more than a piece of one ever exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from tightfit.numerics.noise.counter_noise import MANTISSA_BITS, Key, write_sum
from tightfit.numerics.noise.rounding import within
from tightfit.numerics.noise.streams import PIECE, CounterStream
from tightfit.numerics.threads import Work

# (weights of a piece, its place in the tensor, scale) → `scale` × the numbers of a direction there, (n,) float32.
Draw = Callable[[torch.Tensor, int, float], torch.Tensor]


class PiecewiseStream:
    """Directions of the tensor that `plain` draws independent numbers for. A subclass says what makes a piece."""

    shared_out = True

    def __init__(self, plain: CounterStream) -> None:
        self.weights, self._keys, self._table = plain.weights, plain.keys, plain.table

    def draw(self, counter: int) -> Draw:
        """What makes the pieces of z(counter), in any order and by several threads at once."""
        raise NotImplementedError

    def draws(self, counter: int) -> Iterator[torch.Tensor]:
        draw = self.draw(counter)
        for number, piece in enumerate(self.weights.split(PIECE)):
            yield draw(piece, number * PIECE, 1.0)

    def rounding(self, counter: int) -> Key:
        """Of the chances by which sums with z(counter) are rounded to 16 bits."""
        return self._keys.of_rounding(counter)

    def work(self, target: torch.Tensor, scale: float, counter: int, stochastically: bool = False) -> list[Work]:
        draw, scale = self.draw(counter), within(scale, torch.float32)
        rounding = self.rounding(counter) if stochastically and target.dtype in MANTISSA_BITS else None
        pieces = enumerate(zip(self.weights.split(PIECE), target.split(PIECE), strict=True))
        return [partial(write_piece, *piece, draw, scale, rounding, number * PIECE) for number, piece in pieces]


def write_piece(
    source: torch.Tensor, target: torch.Tensor, draw: Draw, scale: float, rounding: Key | None, start: int
) -> None:
    write_sum(source, target, draw(source, start, scale), rounding, start)
