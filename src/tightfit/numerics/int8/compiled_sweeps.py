"""What integer training does between products, each as one compiled sweep over memory. Needs numba (extra `fast`).

The eager operators of `int8` and `int8_perturbation` read and write the same memory several times; these do it once,
with the same results bit for bit. Compiled when this module is first imported, before any step, and kept for later
processes. Tensors without data (meta, fake) get results without data, so a rehearsal sees the same allocations.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import float32, int8, int16, int32, int64, njit, uint64, void

from tightfit.numerics.compiled import BLOCK_BYTES, Array, as_array, has_data
from tightfit.numerics.int8.compiled_images import fill_bands, nearest, round_maxima
from tightfit.numerics.int8.compiled_loss import sum_logarithms
from tightfit.numerics.noise.counter_noise import Key
from tightfit.numerics.noise.hashed import hash_words

ZERO, ONE = np.int32(0), np.int32(1)
HALF = np.uint32(16)
LARGEST = 127
MOST = np.int32(LARGEST)
TILE = 1024  # numbers whose random bits are held, in the processor's nearest cache


def serves(tensor: torch.Tensor) -> bool:
    """Whether `tensor` lies where compiled sweeps can read it."""
    return tensor.device.type == "cpu" and tensor.dtype in (torch.int8, torch.int32, torch.float32)


def in_memory_order(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` with its dimensions in the order of memory, copied only where it is in neither of two orders.

    Images seen as (b, c, h, w) lie as (b, h, w, c), which is how a convolution leaves them.
    """
    return tensor.contiguous() if is_plain(tensor) else tensor.permute(0, 2, 3, 1).contiguous()


def is_plain(tensor: torch.Tensor) -> bool:
    return tensor.dim() != 4 or tensor.is_contiguous()


def flat(tensor: torch.Tensor) -> Array:
    return as_array(in_memory_order(tensor)).reshape(-1)


def bit_width(integers: torch.Tensor) -> int:
    """⌈log2 max|x|⌉, and 0 when no magnitude exceeds 1; 0 also without data."""
    return width_of(_largest_magnitude(flat(integers))) if has_data(integers) else 0


def width_of(magnitude: int) -> int:
    return max(int(magnitude) - 1, 0).bit_length()


def rounded(integers: torch.Tensor, shift: torch.Tensor | int, least: int, most: int) -> torch.Tensor:
    """Whole numbers / 2**shift to the nearest, halves away from zero, clipped to least … most, as int8.

    integers: int32, or float32 that is converted on the way. The order in memory stays.
    """
    ordered = in_memory_order(integers)
    values = torch.empty(ordered.shape, dtype=torch.int8)
    if has_data(integers):
        _round(flat(ordered), int(shift), least, most, flat(values))
    return values if is_plain(integers) else values.permute(0, 3, 1, 2)


def rounded_maxima(images: torch.Tensor, shift: torch.Tensor | int, least: int, most: int) -> torch.Tensor:
    """The same of the 2×2 maxima of (b, c, h, w): (b, c, h // 2, w // 2), which lies as (b, h, w, c)."""
    batch, channels, height, width = images.shape
    sides = batch, height // 2, width // 2, channels
    ordered, maxima = images.permute(0, 2, 3, 1).contiguous(), with_a_block_more(math.prod(sides))
    if has_data(images):
        round_maxima(flat(ordered), height, width, channels, int(shift), least, most, as_array(maxima))
    return maxima[: math.prod(sides)].view(sides).permute(0, 3, 1, 2)


def bands(images: torch.Tensor, kernel: int, tile: int) -> torch.Tensor:
    """As `matmul.bands`, for (b, c, h, w) int8 that lies as (b, h, w, c), or is copied."""
    batch, channels, height, width = images.shape
    sides = batch * height * (width // tile), kernel * (tile + kernel - 1) * channels
    ordered, rows = images.permute(0, 2, 3, 1).contiguous(), with_a_block_more(math.prod(sides))
    if has_data(images):
        fill_bands(as_array(ordered).reshape(batch, height, -1), channels, kernel, tile, as_array(rows))
    return rows[: math.prod(sides)].view(sides)


def summed_logarithms(
    logits: torch.Tensor,
    places: list[int],
    labels: torch.Tensor,
    to_power: tuple[int, int],
    share_top: bool,
    kept: tuple[int, int],
    tables: tuple[Array, Array],
) -> tuple[int, int, int]:
    """As `loss._logarithms`, for the `logits` (2, b, c) of both passes.

    places: by which each is shifted; to_power: a factor, and by how much the product is shifted; kept: how far below
    the top a power counts, and the least sum; tables: those of `loss`.
    """
    if not has_data(logits):
        return 0, 0, 0
    moved = np.array(places, np.int64)
    return sum_logarithms(as_array(logits), moved, flat(labels), *to_power, share_top, *kept, *tables)


def with_a_block_more(size: int) -> torch.Tensor:
    """Room for `size` int8 numbers, and for what `copy_run` writes after the last."""
    return torch.empty(size + BLOCK_BYTES, dtype=torch.int8)


def update_of(gradient: torch.Tensor, shift: torch.Tensor, most: int) -> torch.Tensor:
    """X / 2**shift rounded pseudo-stochastically and clipped to ±most, as int8."""
    update = torch.empty(gradient.shape, dtype=torch.int8)
    if has_data(gradient):
        _update_of(as_array(gradient.contiguous()).reshape(-1), int(shift), most, flat(update))
    return update


def add_(weights: torch.Tensor, change: torch.Tensor, scale: int, limit: int) -> None:
    """Add scale × `change` to contiguous int8 `weights` in place, clipped to ±`limit`."""
    if has_data(weights):
        _add(as_array(weights.view(-1)), as_array(change.contiguous().view(-1)), scale, limit)


def add_direction_(weights: torch.Tensor, key: Key, levels: int, zeros: int, scale: int) -> None:
    """Add `scale` × the direction of `perturbation.direction` to contiguous int8 `weights` in place, clipped."""
    if has_data(weights):
        _add_direction(flat(weights), *unsigned(key), levels, zeros, scale)


def restore_and_update_(
    weights: torch.Tensor, key: Key, levels: int, zeros: int, sign: int, bits: int, limit: int
) -> None:
    """Add the direction, clipped, and subtract `sign` × its update of `bits` bits, clipped to ±`limit`."""
    if has_data(weights):
        low, high = unsigned(key)
        width = width_of(_largest_of_direction(weights.numel(), low, high, levels, zeros))
        most = LARGEST if width > 0 else 0
        shift = max(width - bits, 0)
        _restore_and_update(flat(weights), low, high, levels, zeros, sign, shift, most, limit)


def unsigned(key: Key) -> tuple[np.uint64, np.uint64]:
    return np.uint64(key[0]), np.uint64(key[1])


@njit([int64(int32[::1]), int64(int8[::1]), int64(float32[::1])], nogil=True, cache=True)
def _largest_magnitude(integers: Any) -> Any:
    low = high = ZERO
    for i in range(integers.size):
        value = np.int32(integers[i])
        low, high = min(low, value), max(high, value)
    return max(np.int64(high), -np.int64(low))


@njit([void(kind[::1], int32, int32, int32, int8[::1]) for kind in (int32, float32)], nogil=True, cache=True)
def _round(integers: Any, shift: Any, least: Any, most: Any, values: Any) -> None:
    half = np.int32((ONE << shift) >> ONE)
    less = min(half, ONE)
    for i in range(values.size):
        values[i] = nearest(np.int32(integers[i]), shift, half, less, least, most)


@njit(inline="always")
def _rounded_update(value: Any, shift: Any, most: Any) -> Any:
    half_bits, odd = shift // 2, shift % 2
    magnitude = abs(value)
    quotient = magnitude >> shift
    discarded = magnitude - (quotient << shift)
    upper = discarded >> half_bits
    lower = (discarded - (upper << half_bits)) << odd
    size = min(quotient + np.int32(upper > lower), most)
    return -size if value < 0 else size


@njit([void(int32[::1], int32, int32, int8[::1]), void(int8[::1], int32, int32, int8[::1])], nogil=True, cache=True)
def _update_of(integers: Any, shift: Any, most: Any, update: Any) -> None:
    for i in range(update.size):
        update[i] = np.int8(_rounded_update(np.int32(integers[i]), shift, most))


@njit(void(int8[::1], int8[::1], int16, int16), nogil=True, cache=True)
def _add(weights: Any, change: Any, scale: Any, limit: Any) -> None:
    for i in range(weights.size):
        moved = np.int16(np.int16(weights[i]) + np.int16(change[i]) * scale)
        weights[i] = np.int8(min(max(moved, np.int16(-limit)), limit))


@njit(inline="always")
def _z(field: Any, levels: Any, zeros: Any) -> Any:
    odd = np.int32(np.int32(np.int16(field)) * np.int32(2) + ONE)
    value = np.int32(np.int32(odd * levels + np.int32(2**16)) >> np.int32(17))
    return value if np.int32(np.uint32(field) >> HALF) >= zeros else ZERO


@njit(inline="always")
def _clipped(value: Any, limit: Any) -> Any:
    return np.int8(min(max(value, -limit), limit))


@njit(void(int8[::1], uint64, uint64, int32, int32, int32), nogil=True, cache=True)
def _add_direction(weights: Any, low: Any, high: Any, levels: Any, zeros: Any, scale: Any) -> None:
    words = np.empty(TILE // 2, np.uint64)
    fields = words.view(np.int32)
    for start in range(0, weights.size, TILE):
        hash_words(words, start // 2, low, high)
        tile = weights[start : start + TILE]
        for i in range(tile.size):
            tile[i] = _clipped(np.int32(tile[i]) + _z(fields[i], levels, zeros) * scale, MOST)


@njit(int64(int64, uint64, uint64, int32, int32), nogil=True, cache=True)
def _largest_of_direction(size: Any, low: Any, high: Any, levels: Any, zeros: Any) -> Any:
    words = np.empty(TILE // 2, np.uint64)
    fields = words.view(np.int32)
    largest = ZERO
    for start in range(0, size, TILE):
        hash_words(words, start // 2, low, high)
        for i in range(min(TILE, size - start)):
            largest = max(largest, abs(_z(fields[i], levels, zeros)))
        if 2 * largest + 1 == levels:
            break
    return np.int64(largest)


@njit(void(int8[::1], uint64, uint64, int32, int32, int32, int32, int32, int32), nogil=True, cache=True)
def _restore_and_update(
    weights: Any, low: Any, high: Any, levels: Any, zeros: Any, sign: Any, shift: Any, most: Any, limit: Any
) -> None:
    words = np.empty(TILE // 2, np.uint64)
    fields = words.view(np.int32)
    for start in range(0, weights.size, TILE):
        hash_words(words, start // 2, low, high)
        tile = weights[start : start + TILE]
        for i in range(tile.size):
            z = _z(fields[i], levels, zeros)
            restored = min(max(np.int32(tile[i]) + z, -MOST), MOST)
            tile[i] = _clipped(restored - sign * _rounded_update(z, shift, most), limit)
