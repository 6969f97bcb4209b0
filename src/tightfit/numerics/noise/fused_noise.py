"""Counter-based noise hashed, looked up and added in one compiled sweep over weights on the CPU.

Needs numba (extra `fast`). Bit-identical to the kernels of `counter_noise`: the same integers, the same table, one
float32 addition for each number. Nothing of a tensor's size is held.
"""

from __future__ import annotations

import functools
from functools import partial

import numpy as np
import torch
from numba import njit

from tightfit.numerics.compiled import Array, as_array, has_data
from tightfit.numerics.noise.counter_noise import Key
from tightfit.numerics.noise.half_bits import (
    bfloat16_by_chance,
    bfloat16_nearest,
    bfloat16_value,
    float16_by_chance,
    float16_nearest,
    float16_value,
)
from tightfit.numerics.threads import Work
from tightfit.seeds import SPLITMIX_MULTIPLIERS, SPLITMIX_SHIFTS

TILE = 1024  # numbers whose noise is held, in the processor's nearest cache
PART = 2**18  # numbers of a piece of work

SHIFT_1, SHIFT_2, SHIFT_3 = (np.uint64(shift) for shift in SPLITMIX_SHIFTS)
MULTIPLIER_1, MULTIPLIER_2 = (np.uint64(multiplier) for multiplier in SPLITMIX_MULTIPLIERS)
LOWEST, LOWEST_BYTE = np.uint64(1), np.uint64(0xFF)


def fused_work(
    source: torch.Tensor, target: torch.Tensor, table: torch.Tensor, key: Key, rounding: Key | None
) -> list[Work]:
    """What writes `source` + the numbers of `table` that the stream of `key` picks to `target`: see `counter_noise`.

    Nothing is to be done for tensors without data (meta, fake), as it would allocate nothing.
    """
    if not has_data(source):
        return []
    return work_on(as_array(source), as_array(target), source.dtype, table.numpy(), key, rounding)


def work_on(
    source: Array, target: Array, dtype: torch.dtype, table: Array, key: Key, rounding: Key | None
) -> list[Work]:
    """The same for the memory of numbers of `dtype`."""
    words = tuple(np.uint64(half) for half in (*key, *(rounding or ())))
    if dtype == torch.float32:
        sweep, words = _add_to_floats, words[:2]
    else:
        sweep = _add_to_halves if rounding is None else _add_to_halves_stochastically
        source, target, words = source.view(np.uint16), target.view(np.uint16), (dtype == torch.bfloat16, *words)
    parts = [slice(start, start + PART) for start in range(0, len(source), PART)]
    return [partial(sweep, source[part], target[part], table, part.start // TILE, *words) for part in parts]


@functools.cache
def compile_kernels(dtype: torch.dtype, width: int) -> None:
    """Compile, or load, what `fused_work` runs, so that no training step waits for it."""
    weights = np.zeros(1, np.float32 if dtype == torch.float32 else np.uint16)
    table = np.zeros((256, width), np.float32)
    for rounding in (None, (0, 0)):
        for work in work_on(weights, weights, dtype, table, (0, 0), rounding):
            work()


@njit(nogil=True, cache=True)
def _add_to_floats(source: Array, target: Array, table: Array, first: int, low: np.uint64, high: np.uint64) -> None:
    """Write float32 `source` + the noise of tile `first` and of those after it to `target`."""
    noise, words = np.empty(TILE, np.float32), np.empty(TILE // 8, np.uint64)
    for start in range(0, target.size, TILE):
        _fill(noise, words, table, first + start // TILE, low, high)
        part = _moved_tile(source, target, start)
        for lane in range(part.size):
            part[lane] += noise[lane]


@njit(nogil=True, cache=True)
def _add_to_halves(
    source: Array, target: Array, table: Array, first: int, brain: bool, low: np.uint64, high: np.uint64
) -> None:
    """The same for the bits of bfloat16 (`brain`) or float16 numbers, rounded to the nearest."""
    noise, words = np.empty(TILE, np.float32), np.empty(TILE // 8, np.uint64)
    for start in range(0, target.size, TILE):
        _fill(noise, words, table, first + start // TILE, low, high)
        part = _moved_tile(source, target, start)
        if brain:
            for lane in range(part.size):
                part[lane] = bfloat16_nearest(bfloat16_value(part[lane]) + noise[lane])
        else:
            for lane in range(part.size):
                part[lane] = float16_nearest(float16_value(part[lane]) + noise[lane])


@njit(nogil=True, cache=True)
def _add_to_halves_stochastically(
    source: Array,
    target: Array,
    table: Array,
    first: int,
    brain: bool,
    low: np.uint64,
    high: np.uint64,
    rounding_low: np.uint64,
    rounding_high: np.uint64,
) -> None:
    """The same, where 16 random bits for each number decide about a carry out of the part that is cut off."""
    noise, words, chances = np.empty(TILE, np.float32), np.empty(TILE // 8, np.uint64), np.empty(TILE // 4, np.uint64)
    carries = chances.view(np.uint16)
    for start in range(0, target.size, TILE):
        tile = first + start // TILE
        _fill(noise, words, table, tile, low, high)
        _hash(chances, tile * len(chances), rounding_low, rounding_high)
        part = _moved_tile(source, target, start)
        if brain:
            for lane in range(part.size):
                part[lane] = bfloat16_by_chance(bfloat16_value(part[lane]) + noise[lane], carries[lane])
        else:
            for lane in range(part.size):
                part[lane] = float16_by_chance(float16_value(part[lane]) + noise[lane], carries[lane])


@njit(nogil=True, cache=True)
def _moved_tile(source: Array, target: Array, start: int) -> Array:
    """The tile of `target`, with the numbers of `source`: sums in place are what the compiler makes fast."""
    part = target[start : start + TILE]
    if source.ctypes.data != target.ctypes.data:
        part[:] = source[start : start + TILE]
    return part


@njit(nogil=True, cache=True)
def _fill(noise: Array, words: Array, table: Array, tile: int, low: np.uint64, high: np.uint64) -> None:
    """The noise of one tile. A row of eight numbers holds the signs of its number's bits, so its bits are enough."""
    if table.shape[1] == 8:
        count, least, most = TILE // 64, table[0, 0], table[255, 0]
        _hash(words[:count], tile * count, low, high)
        for index in range(count):
            word, signs = words[index], noise[64 * index : 64 * index + 64]
            for bit in range(64):
                signs[bit] = most if (word >> np.uint64(bit)) & LOWEST else least
    else:
        _hash(words, tile * len(words), low, high)
        numbers = table.ravel()
        for index in range(words.size):  # shifts, for looking the bytes up in memory takes half as long again
            word, eight = words[index], noise[8 * index : 8 * index + 8]
            for byte in range(8):
                eight[byte] = numbers[(word >> np.uint64(8 * byte)) & LOWEST_BYTE]


@njit(nogil=True, cache=True)
def _hash(words: Array, first: int, low: np.uint64, high: np.uint64) -> None:
    """As `counter_noise.random_words`."""
    for index in range(words.size):
        words[index] = _mix(_mix(np.uint64(first + index) ^ low) + high)


@njit(inline="always")
def _mix(x: np.uint64) -> np.uint64:
    x = (x ^ (x >> SHIFT_1)) * MULTIPLIER_1
    x = (x ^ (x >> SHIFT_2)) * MULTIPLIER_2
    return x ^ (x >> SHIFT_3)
