"""Counter-based noise hashed, looked up and added in one compiled sweep over weights on the CPU.

Needs numba (extra `fast`). Bit-identical to the kernels of `counter_noise`: the same integers, the same table, one
float32 addition for each number. Nothing of a tensor's size is held.
"""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from numba import njit

from tightfit.numerics.counter_noise import Key
from tightfit.seeds import SPLITMIX_MULTIPLIERS, SPLITMIX_SHIFTS

DTYPES = (torch.float32, torch.bfloat16)
SHARE = 2**16  # numbers, at least, for a thread of its own to be worth its start

# Compiled code lies with the user's other caches: the folder of an installed package may be read-only.
settings: Any = numba.config
if not settings.CACHE_DIR:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    settings.CACHE_DIR = str(caches / "tightfit" / "numba")

SHIFT_1, SHIFT_2, SHIFT_3 = (np.uint64(shift) for shift in SPLITMIX_SHIFTS)
MULTIPLIER_1, MULTIPLIER_2 = (np.uint64(multiplier) for multiplier in SPLITMIX_MULTIPLIERS)
LOW_BYTE, LOW_HALF = np.uint64(0xFF), np.uint64(0xFFFF)
HALF_BITS, ONE, JUST_BELOW_HALF = np.uint32(16), np.uint32(1), np.uint32(0x7FFF)

Array = np.ndarray[Any, Any]


def add_fused(
    source: torch.Tensor, target: torch.Tensor, table: torch.Tensor, key: Key, rounding: Key | None = None
) -> None:
    """Write `source` + the numbers of `table` that the stream of `key` picks to `target`: see `counter_noise`."""
    before, after, numbers, width = as_array(source), as_array(target), table.numpy(), table.shape[1]
    keys = tuple(np.uint64(half) for half in (*key, *(rounding or (0, 0))))
    whole = len(before) // (8 * width)  # words
    threads = max(1, min(torch.get_num_threads(), len(before) // SHARE))
    starts = [whole * thread // threads for thread in range(threads + 1)]

    def sweep(thread: int) -> None:
        part = slice(starts[thread] * 8 * width, starts[thread + 1] * 8 * width)
        run(before[part], after[part], numbers, starts[thread], keys, rounding is not None)

    if threads == 1:
        sweep(0)
    else:
        list(pool(os.getpid(), threads).map(sweep, range(threads)))
    rest = len(before) - whole * 8 * width
    if rest:  # the last word serves these numbers and some that are thrown away
        last = np.zeros(8 * width, before.dtype)
        last[:rest] = before[-rest:]
        run(last, last, numbers, whole, keys, rounding is not None)
        after[-rest:] = last[:rest]


def run(before: Array, after: Array, numbers: Array, first: int, keys: tuple[np.uint64, ...], rounds: bool) -> None:
    """Sweep over whole words, the first of which has the index `first`."""
    if before.dtype == np.float32:
        _add_floats(before, after, numbers, first, *keys[:2])
    elif rounds:
        _add_halves_stochastically(before, after, numbers, first, *keys)
    else:
        _add_halves(before, after, numbers, first, *keys[:2])


def as_array(weights: torch.Tensor) -> Array:
    """The memory of `weights`; bfloat16, which NumPy lacks, as the integers of its bits."""
    weights = weights.detach()
    return weights.numpy() if weights.dtype == torch.float32 else weights.view(torch.int16).numpy().view(np.uint16)


@functools.cache
def pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process: those of the process it was forked from do not run in it."""
    return ThreadPoolExecutor(threads, thread_name_prefix="noise")


def compile_kernels(dtype: torch.dtype, width: int) -> None:
    """Compile, or load, what `add_fused` needs, so that no training step waits for it."""
    weights = torch.zeros(1, dtype=dtype)
    add_fused(weights, weights, torch.zeros(256, width), (0, 0))


@njit(inline="always")
def _mix(x: np.uint64) -> np.uint64:
    x = (x ^ (x >> SHIFT_1)) * MULTIPLIER_1
    x = (x ^ (x >> SHIFT_2)) * MULTIPLIER_2
    return x ^ (x >> SHIFT_3)


@njit(inline="always")
def _word(index: int, low: np.uint64, high: np.uint64) -> np.uint64:
    return _mix(_mix(np.uint64(index) ^ low) + high)


@njit(inline="always")
def _part(word: np.uint64, bits: int, number: int, mask: np.uint64) -> np.uint64:
    return (word >> np.uint64(bits * number)) & mask


@njit(nogil=True, cache=True)
def _add_floats(before: Array, after: Array, table: Array, first: int, low: np.uint64, high: np.uint64) -> None:
    if table.shape[1] == 8:
        for index in range(before.size // 64):
            word = _word(first + index, low, high)
            for byte in range(8):
                row, start = _part(word, 8, byte, LOW_BYTE), index * 64 + byte * 8
                for lane in range(8):
                    after[start + lane] = before[start + lane] + table[row, lane]
    else:
        for index in range(before.size // 8):
            word = _word(first + index, low, high)
            for byte in range(8):
                after[index * 8 + byte] = before[index * 8 + byte] + table[_part(word, 8, byte, LOW_BYTE), 0]


@njit(nogil=True, cache=True)
def _add_halves(before: Array, after: Array, table: Array, first: int, low: np.uint64, high: np.uint64) -> None:
    if table.shape[1] == 8:
        for index in range(before.size // 64):
            word = _word(first + index, low, high)
            for byte in range(8):
                row, start = _part(word, 8, byte, LOW_BYTE), index * 64 + byte * 8
                for lane in range(8):
                    after[start + lane] = _nearest(_sum_bits(before[start + lane], table[row, lane]))
    else:
        for index in range(before.size // 8):
            word = _word(first + index, low, high)
            for byte in range(8):
                noise = table[_part(word, 8, byte, LOW_BYTE), 0]
                after[index * 8 + byte] = _nearest(_sum_bits(before[index * 8 + byte], noise))


@njit(nogil=True, cache=True)
def _add_halves_stochastically(
    before: Array,
    after: Array,
    table: Array,
    first: int,
    low: np.uint64,
    high: np.uint64,
    rounding_low: np.uint64,
    rounding_high: np.uint64,
) -> None:
    """As above, with 16 bits of two further words deciding about the rounding of each eight numbers."""
    width = table.shape[1]
    for eight in range(before.size // 8):
        place, start = first * width + eight, eight * 8
        word = _word(first + eight // width, low, high)
        row = _part(word, 8, eight % 8, LOW_BYTE)
        for half in range(2):
            chances = _word(2 * place + half, rounding_low, rounding_high)
            for quarter in range(4):
                lane = 4 * half + quarter
                noise = table[row, lane] if width == 8 else table[_part(word, 8, lane, LOW_BYTE), 0]
                total = _sum_bits(before[start + lane], noise)
                carry = np.uint32(_part(chances, 16, quarter, LOW_HALF))
                after[start + lane] = np.uint16(np.uint32(total + carry) >> HALF_BITS)


@njit(inline="always")
def _sum_bits(half: np.uint16, noise: np.float32) -> np.uint32:
    """The bits of the float32 sum of `noise` and a bfloat16, which is the upper half of a float32."""
    return np.float32(np.uint32(np.uint32(half) << HALF_BITS).view(np.float32) + noise).view(np.uint32)


@njit(inline="always")
def _nearest(total: np.uint32) -> np.uint16:
    """Half a unit less one bit, and that bit where the result would be odd: ties go to even."""
    return np.uint16(np.uint32(total + JUST_BELOW_HALF + ((total >> HALF_BITS) & ONE)) >> HALF_BITS)
