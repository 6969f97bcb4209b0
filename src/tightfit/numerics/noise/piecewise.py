"""Directions that are no independent numbers, made a piece at a time: no more than a piece of one ever exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from tightfit.numerics.noise.counter_noise import BLOCK, BLOCK_OF_FEW, FEW, MANTISSA_BITS, Key, write_sum
from tightfit.numerics.noise.rounding import within
from tightfit.numerics.noise.streams import PIECE, CounterStream, kernel_on
from tightfit.numerics.threads import Work

# (weights of a piece, its place in the tensor, scale) → `scale` × the numbers of a direction there, (n,) float32.
Draw = Callable[[torch.Tensor, int, float], torch.Tensor]

COMPILED_PIECE = 2**16  # numbers: they stay in the processor's cache until they are added


class PiecewiseStream:
    """Directions of the tensor that `plain` draws independent numbers for. A subclass says what makes a piece.

    On a CPU with numba pieces are made by compiled code (`compiled_pieces`), which gives the same bits.
    """

    shared_out = True

    def __init__(self, plain: CounterStream) -> None:
        self.weights, self.keys, self._table, self._noise = plain.weights, plain.keys, plain.table, plain.noise
        on_cpu = self.weights.device.type == "cpu"
        self.compiled = on_cpu and kernel_on("auto", self.weights.device) == "fused"
        if self.compiled:
            from tightfit.numerics.noise.compiled_pieces import compile_kernels  # optional, so imported only here

            compile_kernels()

    def draw(self, counter: int) -> Draw:
        """What makes the pieces of z(counter), in any order and by several threads at once."""
        raise NotImplementedError

    def draws(self, counter: int) -> Iterator[torch.Tensor]:
        draw = self.draw(counter)
        for number, piece in enumerate(self.weights.split(PIECE)):
            yield draw(piece, number * PIECE, 1.0)

    def rounding(self, counter: int) -> Key:
        """Of the chances by which sums with z(counter) are rounded to 16 bits."""
        return self.keys.of_rounding(counter)

    def work(self, target: torch.Tensor, scale: float, counter: int, stochastically: bool = False) -> list[Work]:
        return self.work_of(self.draw(counter), target, scale, counter, stochastically)

    def work_of(
        self, draw: Draw, target: torch.Tensor, scale: float, counter: int, stochastically: bool = False
    ) -> list[Work]:
        """The same for what `draw` makes in place of z(counter)."""
        scale = within(scale, torch.float32)
        rounding = self.rounding(counter) if stochastically and target.dtype in MANTISSA_BITS else None
        size = self._size_of_pieces()
        pieces = enumerate(zip(self.weights.split(size), target.split(size), strict=True))
        return [partial(self._write, *piece, draw, scale, rounding, number * size) for number, piece in pieces]

    def _size_of_pieces(self) -> int:
        if len(self.weights) <= FEW:
            return BLOCK_OF_FEW
        return COMPILED_PIECE if self.compiled else BLOCK

    def _write(
        self, source: torch.Tensor, target: torch.Tensor, draw: Draw, scale: float, rounding: Key | None, start: int
    ) -> None:
        noise = draw(source, start, scale)
        if rounding is None or not self.compiled:
            write_sum(source, target, noise, rounding, start)
            return
        from tightfit.numerics.noise.compiled_pieces import add_by_chance

        add_by_chance(source, target, noise, rounding, start)
