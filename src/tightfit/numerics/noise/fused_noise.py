"""Counter-based noise hashed, looked up and added in one compiled sweep over all weights on the CPU.

Needs numba (extra `fast`). Bit-identical to the kernels of `counter_noise`: the same integers, the same table, the same
roundings. Nothing of a tensor's size is held. Small models have tensors of a few numbers, so what is done for each
tensor counts: compiled code finds them by their addresses and makes their keys.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numba import njit

from tightfit.numerics.compiled import Array, array_at, as_array, fetch, has_data
from tightfit.numerics.noise.counter_noise import ARRAYS, TABLES, TensorKeys, numbers_per_word
from tightfit.numerics.noise.half_bits import (
    bfloat16_by_chance,
    bfloat16_nearest,
    bfloat16_value,
    float16_by_chance,
    float16_nearest,
    float16_value,
)
from tightfit.numerics.noise.hashed import hash_words, mix
from tightfit.numerics.noise.rounding import within
from tightfit.numerics.threads import Work

Moves = Sequence[tuple[float, int]]  # scales and counters

TILE = 1024  # numbers whose noise is held, in the processor's nearest cache
PART = 2**18  # numbers of a piece of work, at most

# A row of a plan is a run of weights of one tensor: the addresses it is read from and written to, the tile of its
# tensor that it begins with, how many weights it has, and the keys of its tensor.
SOURCE, TARGET, FIRST, SIZE, WORDS, COUNTERS, ROUNDING = range(7)

# Numbers that a word has of the table of 2**16, which is too long for the nearest cache: to look them up takes longer
# than all else, so weights are fetched meanwhile. (Signs are made sooner than weights come.)
OF_LONG_TABLE = 4

LOWEST, LOWEST_BYTE = np.uint64(1), np.uint64(0xFF)


class FusedSweep:
    """Adds numbers of `noise` to tensors of one type. Nothing is done for tensors without data (meta, fake).

    tensors: flat weights with the keys of their directions.
    """

    def __init__(self, tensors: Sequence[tuple[torch.Tensor, TensorKeys]], noise: str) -> None:
        self._tensors, self._noise = tensors, noise  # kept, for a plan has only addresses
        self._numbers = ARRAYS[noise], numbers_per_word(TABLES[noise])
        self._dtype = tensors[0][0].dtype
        rows = [row for weights, keys in tensors if has_data(weights) for row in rows_of(weights, keys)]
        self._plan = np.array(rows, np.uint64).reshape(len(rows), 7)
        self._parts = list(parts_of(self._plan))
        compile_kernels(self._dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        """So that a copy has a plan of its own weights, not these addresses."""
        return FusedSweep, (self._tensors, self._noise)

    def work(self, moves: Moves, stochastically: bool = False, target: torch.Tensor | None = None) -> list[Work]:
        """What adds each of `moves` to all tensors, one after the other, in pieces to be done in any order.

        target: where the sums go instead, if there is only one tensor.
        """
        kernel, *own = kernel_for(self._dtype, stochastically)
        scales = np.array([within(scale, torch.float32) for scale, _ in moves], np.float32)
        counters = np.array([counter for _, counter in moves], np.uint64)
        plan = self._plan if target is None else self._plan_to(target)
        return [partial(kernel, *own, plan[part], *self._numbers, scales, counters) for part in self._parts]

    def _plan_to(self, target: torch.Tensor) -> Array:
        plan = self._plan.copy()
        if has_data(target):
            plan[:, TARGET] += np.uint64((target.data_ptr() - int(plan[0, SOURCE])) % 2**64)
        return plan


def rows_of(weights: torch.Tensor, keys: TensorKeys) -> Iterator[tuple[int, ...]]:
    """The rows of a plan that moves one tensor in place."""
    for start in range(0, len(weights), PART):
        address, size = weights[start:].data_ptr(), min(PART, len(weights) - start)
        yield address, address, start // TILE, size, keys.words, keys.counters, keys.rounding


def parts_of(plan: Array) -> Iterator[slice]:
    """The rows of `plan`, cut so that each part has at most `PART` numbers."""
    first, numbers = 0, 0
    for row, size in enumerate(plan[:, SIZE].tolist()):
        if numbers + size > PART:
            yield slice(first, row)
            first, numbers = row, 0
        numbers += size
    yield slice(first, len(plan))


def kernel_for(dtype: torch.dtype, stochastically: bool) -> tuple[Any, ...]:
    """The kernel for weights of `dtype`, and arguments that it has before all others."""
    if dtype == torch.float32:
        return (_add_to_floats,)
    return (_add_to_halves_stochastically if stochastically else _add_to_halves), dtype == torch.bfloat16


def draw_(target: torch.Tensor, first: int, keys: TensorKeys, noise: str, counter: int) -> None:
    """Write the numbers of a direction from place `first` on, a multiple of `TILE`, to the float32 `target` (n,)."""
    if has_data(target):
        row = np.array([0, 0, 0, len(target), keys.words, keys.counters, keys.rounding], np.uint64)
        numbers, per_word = ARRAYS[noise], numbers_per_word(TABLES[noise])
        _draw(as_array(target), numbers, per_word, row, first, np.uint64(counter))


@functools.cache
def compile_kernels(dtype: torch.dtype) -> None:
    """Compile, or load, what `FusedSweep` runs, so that no training step waits for it."""
    nothing = np.empty((0, 7), np.uint64), np.empty(0, np.float32), 1
    for stochastically in (False, True):
        kernel, *own = kernel_for(dtype, stochastically)
        kernel(*own, *nothing, np.zeros(1, np.float32), np.zeros(1, np.uint64))
    _draw(np.empty(0, np.float32), np.empty(0, np.float32), 1, np.zeros(7, np.uint64), 0, np.uint64(0))


@njit(nogil=True, cache=True)
def _add_to_floats(plan: Array, numbers: Array, per_word: int, scales: Array, counters: Array) -> None:
    """Write float32 weights + the noise of each move, one after the other, for all rows of `plan`."""
    noise, words = np.empty(TILE, np.float32), np.empty(TILE // 4, np.uint64)
    for row in plan:
        for start in range(0, np.int64(row[SIZE]), TILE):
            part = _moved_tile(row, start, np.float32, per_word)
            for move in range(scales.size):
                if per_word == OF_LONG_TABLE:
                    _add_looked_up(part, words, numbers, row, start, scales[move], counters[move])
                else:
                    fill(noise, words, part.size, numbers, per_word, row, start, scales[move], counters[move])
                    for lane in range(part.size):
                        part[lane] += noise[lane]


@njit(nogil=True, cache=True)
def _add_to_halves(brain: bool, plan: Array, numbers: Array, per_word: int, scales: Array, counters: Array) -> None:
    """The same for the bits of bfloat16 (`brain`) or float16 numbers, each sum rounded to the nearest."""
    noise, words = np.empty(TILE, np.float32), np.empty(TILE // 4, np.uint64)
    for row in plan:
        for start in range(0, np.int64(row[SIZE]), TILE):
            part = _moved_tile(row, start, np.uint16, per_word)
            for move in range(scales.size):
                fill(noise, words, part.size, numbers, per_word, row, start, scales[move], counters[move])
                if brain:
                    for lane in range(part.size):
                        part[lane] = bfloat16_nearest(bfloat16_value(part[lane]) + noise[lane])
                else:
                    for lane in range(part.size):
                        part[lane] = float16_nearest(float16_value(part[lane]) + noise[lane])


@njit(nogil=True, cache=True)
def _add_to_halves_stochastically(
    brain: bool, plan: Array, numbers: Array, per_word: int, scales: Array, counters: Array
) -> None:
    """The same, where 16 random bits for each number decide about a carry out of the part that is cut off."""
    noise, words, chances = np.empty(TILE, np.float32), np.empty(TILE // 4, np.uint64), np.empty(TILE // 4, np.uint64)
    carries = chances.view(np.uint16)
    for row in plan:
        for start in range(0, np.int64(row[SIZE]), TILE):
            part, first = _moved_tile(row, start, np.uint16, per_word), (np.int64(row[FIRST]) * TILE + start) // 4
            for move in range(scales.size):
                fill(noise, words, part.size, numbers, per_word, row, start, scales[move], counters[move])
                hash_words(chances[: (part.size + 3) // 4], first, row[ROUNDING], mix(counters[move] ^ row[COUNTERS]))
                if brain:
                    for lane in range(part.size):
                        part[lane] = bfloat16_by_chance(bfloat16_value(part[lane]) + noise[lane], carries[lane])
                else:
                    for lane in range(part.size):
                        part[lane] = float16_by_chance(float16_value(part[lane]) + noise[lane], carries[lane])


@njit(nogil=True, cache=True)
def _draw(target: Array, numbers: Array, per_word: int, row: Array, first: int, counter: np.uint64) -> None:
    noise, words = np.empty(TILE, np.float32), np.empty(TILE // 4, np.uint64)
    for start in range(0, target.size, TILE):
        part = target[start : start + TILE]
        fill(noise, words, part.size, numbers, per_word, row, first + start, np.float32(1), counter)
        part[:] = noise[: part.size]


@njit(inline="always")
def _moved_tile(row: Array, start: int, dtype: Any, per_word: int) -> Array:
    """The tile of what `row` is written to, with the numbers it is read from: sums in place are what the compiler makes
    fast."""
    size = np.int64(row[SIZE])
    part = array_at(row[TARGET], size, dtype)[start : start + TILE]
    if row[SOURCE] != row[TARGET]:
        part[:] = array_at(row[SOURCE], size, dtype)[start : start + TILE]
    elif per_word == OF_LONG_TABLE:
        fetch(row[TARGET] + np.uint64(start * part.itemsize), part.nbytes)
    return part


@njit(inline="always")
def _add_looked_up(
    part: Array, words: Array, numbers: Array, row: Array, start: int, scale: np.float32, counter: np.uint64
) -> None:
    """Add the noise from the table of 2**16 numbers without writing it down first."""
    words = words[: (part.size + OF_LONG_TABLE - 1) // OF_LONG_TABLE]
    hash_words(words, (np.int64(row[FIRST]) * TILE + start) // OF_LONG_TABLE, row[WORDS], mix(counter ^ row[COUNTERS]))
    fields = words.view(np.uint16)
    for lane in range(part.size):
        part[lane] += numbers[fields[lane]] * scale


@njit(nogil=True, cache=True)
def fill(
    noise: Array,
    words: Array,
    size: int,
    numbers: Array,
    per_word: int,
    row: Array,
    start: int,
    scale: np.float32,
    counter: np.uint64,
) -> None:
    """The noise of `size` numbers that begin `start` numbers into `row`, and of what shares a word with them."""
    words = words[: (size + per_word - 1) // per_word]
    hash_words(words, (np.int64(row[FIRST]) * TILE + start) // per_word, row[WORDS], mix(counter ^ row[COUNTERS]))
    if per_word == 64:  # signs: a row of their table says what its number's bits say
        for index in range(words.size):
            word, signs = words[index], noise[64 * index : 64 * index + 64]
            for bit in range(64):
                signs[bit] = scale if (word >> np.uint64(bit)) & LOWEST else -scale
    elif per_word == 8:
        for index in range(words.size):  # shifts, for looking the bytes up in memory takes half as long again
            word, eight = words[index], noise[8 * index : 8 * index + 8]
            for byte in range(8):
                eight[byte] = numbers[(word >> np.uint64(8 * byte)) & LOWEST_BYTE] * scale
    else:
        fields = words.view(np.uint16)
        for lane in range(fields.size):
            noise[lane] = numbers[fields[lane]] * scale
