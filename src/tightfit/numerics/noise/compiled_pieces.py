"""Pieces of directions that are no independent numbers, made and added by compiled code. Needs numba (extra `fast`).

Bit-identical to what PyTorch's operators make in `masked`, `factored` and `counter_noise.write_sum`: the same products
and sums, rounded in the same order.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numba import njit

from tightfit.numerics.compiled import Array, as_array, has_data
from tightfit.numerics.noise.counter_noise import ARRAYS, TABLES, Key, TensorKeys, numbers_per_word
from tightfit.numerics.noise.fused_noise import TILE, fill
from tightfit.numerics.noise.half_bits import bfloat16_by_chance, bfloat16_value, float16_by_chance, float16_value
from tightfit.numerics.noise.hashed import hash_words

NOTHING = np.float32(-0.0)  # the one number that changes no weight, not even −0
ONE = np.uint32(1)


def fill_product(noise: torch.Tensor, left: torch.Tensor, right: torch.Tensor, start: int, scale: float) -> None:
    """`scale` × the numbers from place `start` on of leftᵀ right, (m, n), row by row; left (r, m), right (r, n)."""
    if has_data(noise):
        _fill_product(as_array(noise), as_array(left), as_array(right), start, np.float32(scale))


def fill_masked(
    noise: torch.Tensor, frozen: torch.Tensor, noise_name: str, keys: TensorKeys, start: int, scale: float, counter: int
) -> None:
    """`scale` × the independent numbers from place `start` on, and nothing where a bit of `frozen` is set."""
    if not has_data(noise):
        return
    key = np.array([0, 0, 0, len(noise), keys.words, keys.counters, keys.rounding], np.uint64)
    numbers = ARRAYS[noise_name], numbers_per_word(TABLES[noise_name])
    _fill_masked(as_array(noise), as_array(frozen), key, *numbers, start, np.float32(scale), np.uint64(counter))


def mark(frozen: torch.Tensor, weights: torch.Tensor, threshold: float) -> None:
    """Set the bits of `frozen`, lowest first, where float32 `weights` are larger in magnitude than `threshold`."""
    if has_data(frozen):
        _mark(as_array(frozen), as_array(weights), np.float32(threshold))


def add_by_chance(source: torch.Tensor, target: torch.Tensor, noise: torch.Tensor, rounding: Key, start: int) -> None:
    """Write 16-bit `source` + `noise` to `target`, rounded up or down as `write_sum` does."""
    if not has_data(source):
        return
    before, after = (tensor.detach().view(torch.uint16).numpy() for tensor in (source, target))
    low, high = (np.uint64(half) for half in rounding)
    _add_by_chance(source.dtype == torch.bfloat16, before, after, as_array(noise), low, high, start)


@functools.cache
def compile_kernels() -> None:
    """Compile, or load, what makes pieces, so that no training step waits for it."""
    floats, bits = np.zeros(1, np.float32), np.zeros(1, np.uint8)
    matrix, halves = floats.reshape(1, 1), np.zeros(1, np.uint16)
    zero = np.uint64(0)
    _fill_product(floats, matrix, matrix, 0, np.float32(0))
    for name, table in TABLES.items():
        key = np.zeros(7, np.uint64)
        _fill_masked(floats, bits, key, ARRAYS[name], numbers_per_word(table), 0, np.float32(0), zero)
    _mark(bits, floats, np.float32(0))
    _add_by_chance(True, halves, halves, floats, zero, zero, 0)


@njit(nogil=True, cache=True)
def _fill_product(noise: Array, left: Array, right: Array, start: int, scale: np.float32) -> None:
    width = right.shape[1]
    row, column, done = start // width, start % width, 0
    while done < noise.size:
        count = min(width - column, noise.size - done)
        part, factor = noise[done : done + count], left[0, row]
        columns = right[0, column : column + count]
        for lane in range(count):
            part[lane] = factor * columns[lane]
        for k in range(1, left.shape[0]):
            factor, columns = left[k, row], right[k, column : column + count]
            for lane in range(count):
                part[lane] += factor * columns[lane]
        for lane in range(count):
            part[lane] *= scale
        row, column, done = row + 1, 0, done + count


@njit(nogil=True, cache=True)
def _fill_masked(
    noise: Array,
    frozen: Array,
    key: Array,
    numbers: Array,
    per_word: int,
    start: int,
    scale: np.float32,
    counter: np.uint64,
) -> None:
    drawn, words = np.empty(TILE, np.float32), np.empty(TILE // 4, np.uint64)
    for first in range(0, noise.size, TILE):
        part, bits = noise[first : first + TILE], frozen[first // 8 :]
        fill(drawn, words, part.size, numbers, per_word, key, start + first, scale, counter)
        for byte in range((part.size + 7) // 8):
            of_byte, kept, given = np.uint32(bits[byte]), drawn[8 * byte : 8 * byte + 8], part[8 * byte : 8 * byte + 8]
            for place in range(given.size):
                given[place] = NOTHING if (of_byte >> np.uint32(place)) & ONE else kept[place]


@njit(nogil=True, cache=True)
def _mark(frozen: Array, weights: Array, threshold: np.float32) -> None:
    for index in range(frozen.size):
        byte = np.uint32(0)
        eight = weights[8 * index : 8 * index + 8]
        for place in range(eight.size):
            byte |= np.uint32(abs(eight[place]) > threshold) << np.uint32(place)
        frozen[index] = byte


@njit(nogil=True, cache=True)
def _add_by_chance(
    brain: bool, source: Array, target: Array, noise: Array, low: np.uint64, high: np.uint64, start: int
) -> None:
    chances = np.empty(TILE // 4, np.uint64)
    carries = chances.view(np.uint16)
    for first in range(0, noise.size, TILE):
        before, after = source[first : first + TILE], target[first : first + TILE]
        part: Any = noise[first : first + TILE]
        hash_words(chances[: (part.size + 3) // 4], (start + first) // 4, low, high)
        if brain:
            for lane in range(part.size):
                after[lane] = bfloat16_by_chance(bfloat16_value(before[lane]) + part[lane], carries[lane])
        else:
            for lane in range(part.size):
                after[lane] = float16_by_chance(float16_value(before[lane]) + part[lane], carries[lane])
