"""Directions of low rank: left · right, where a matrix is a tensor of two axes or more in the order of its memory.

The factors are functions of the seed, the name and the counter, so that nothing is kept of them between two moves. Of
a tensor that is being moved both factors exist, and a piece of their product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from tightfit.numerics.noise.counter_noise import keys_for, noise_at
from tightfit.numerics.noise.flat import matrix_shape
from tightfit.numerics.noise.piecewise import Draw, PiecewiseStream
from tightfit.numerics.noise.streams import CounterStream

NUMBERS = "gaussian"
Factors = tuple[torch.Tensor, torch.Tensor]  # (r, m) and (r, n) float32: z = leftᵀ right


class FactoredStream(PiecewiseStream):
    """Directions of a matrix (m, n) of which a subclass draws the factors."""

    def __init__(self, plain: CounterStream, matrix: torch.Tensor, name: str, seed: int, queries: int) -> None:
        """matrix: the weights, of two axes or more. queries: directions per step."""
        super().__init__(plain)
        self.shape = matrix_shape(matrix)
        self._name, self._seed, self._queries = name, seed, queries

    def factors(self, counter: int) -> Factors:
        raise NotImplementedError

    def draw(self, counter: int) -> Draw:
        return self.product(*self.factors(counter))

    def product(self, left: torch.Tensor, right: torch.Tensor) -> Draw:
        """What makes the pieces of leftᵀ right."""

        def drawn(weights: torch.Tensor, start: int, scale: float) -> torch.Tensor:
            noise, done = torch.empty(len(weights), device=weights.device), 0
            if self.compiled:
                from tightfit.numerics.noise.compiled_pieces import fill_product

                fill_product(noise, left, right, start, scale)
                return noise
            for rows, columns in rectangles(start, start + len(weights), self.shape[1]):
                part = noise[done : done + size(rows) * size(columns)].view(size(rows), size(columns))
                torch.mul(left[0, rows, None], right[0, columns], out=part)
                for k in range(1, len(left)):  # in this order, and each product rounded: the same bits everywhere
                    part += left[k, rows, None] * right[k, columns]
                done += part.numel()
            return noise.mul_(scale)

        return drawn

    def normal(self, part: str, counter: int, *shape: int) -> torch.Tensor:
        """Standard normal numbers of `shape` for that part of z, float32."""
        key = keys_for(f"{self._name}/{part}", self._seed, NUMBERS).of(counter)
        return noise_at(slice(0, math.prod(shape)), self._table, key).view(shape)


class LazyStream(FactoredStream):
    """z = U Vᵀ / √r with U (m, r) drawn for each direction and V (n, r) for each `period` of steps, both normal.

    Numbers of z have mean 0 and variance 1. The rank is at most that of the matrix.
    """

    def __init__(
        self, plain: CounterStream, matrix: torch.Tensor, name: str, seed: int, queries: int, rank: int, period: int
    ) -> None:
        super().__init__(plain, matrix, name, seed, queries)
        self._rank, self._period = min(rank, *self.shape), period

    def factors(self, counter: int) -> Factors:
        return self.rows(counter), self.columns(self.period_of(counter // self._queries))

    def rows(self, counter: int) -> torch.Tensor:
        """U / √r, as (r, m)."""
        return self.normal("rows", counter, self._rank, self.shape[0]).div_(math.sqrt(self._rank))

    def period_of(self, step: int) -> int:
        return step // self._period

    def columns(self, period: int) -> torch.Tensor:
        """V of that period, as (r, n)."""
        return self.normal("columns", period, self._rank, self.shape[1])


class SubspaceStream(FactoredStream):
    """z = c · U Z Vᵀ with Z (r, s) normal for each direction, and U (m, r) and V (n, s) of orthonormal columns, uniform
    among all such, for each `period` of steps; c² = m n / (r s), so that z is as long as independent numbers.

    r and s are the rank, or a side of the matrix that is shorter.
    """

    def __init__(
        self, plain: CounterStream, matrix: torch.Tensor, name: str, seed: int, queries: int, rank: int, period: int
    ) -> None:
        super().__init__(plain, matrix, name, seed, queries)
        self.ranks, self._period = [min(rank, side) for side in self.shape], period

    def factors(self, counter: int) -> Factors:
        (m, n), (r, s) = self.shape, self.ranks
        period = counter // self._queries // self._period
        inner = self.normal("inner", counter, r, s).double() * math.sqrt(m * n / (r * s))
        left = inner.T @ self.orthonormal("rows", period, m, r).T  # (s, m)
        return left.float(), self.orthonormal("columns", period, n, s).T.float().contiguous()

    def orthonormal(self, part: str, period: int, side: int, rank: int) -> torch.Tensor:
        """(side, rank) float64; of the one factorisation whose diagonal is positive, so that no library's choice of
        signs counts. In float64, so that after rounding its last bits do not count either, but once in a billion."""
        columns, upper = torch.linalg.qr(self.normal(part, period, side, rank).double())
        return columns * upper.diagonal().sign()


def rectangles(start: int, stop: int, width: int) -> Iterator[tuple[slice, slice]]:
    """The rows and columns of the places `start` to `stop` of a flat matrix of rows of `width`, in order."""
    while start < stop:
        row, column = divmod(start, width)
        whole = 0 if column else (stop - start) // width
        if whole:
            yield slice(row, row + whole), slice(0, width)
            start += whole * width
        else:
            end = min(width, column + stop - start)
            yield slice(row, row + 1), slice(column, end)
            start += end - column


def size(places: slice) -> int:
    return places.stop - places.start
