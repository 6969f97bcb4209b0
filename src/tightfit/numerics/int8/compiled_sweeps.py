"""What integer training does between products, each as one compiled sweep over memory. Needs numba (extra `fast`).

The eager operators of `int8` and `int8_perturbation` read and write the same memory several times; these do it once,
with the same results bit for bit. Compiled when this module is first imported, before any step, and kept for later
processes. Tensors without data (meta, fake) get results without data, so a rehearsal sees the same allocations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import int8, int16, int32, int64, njit, uint64, void

from tightfit.numerics.compiled import Array, as_array, has_data
from tightfit.numerics.noise.counter_noise import Key
from tightfit.numerics.noise.hashed import hash_words

ZERO, ONE, SIGN_BIT = np.int32(0), np.int32(1), np.int32(31)
HALF = np.uint32(16)
LARGEST = 127
MOST = np.int32(LARGEST)
TILE = 1024  # numbers whose random bits are held, in the processor's nearest cache


def serves(tensor: torch.Tensor) -> bool:
    """Whether `tensor` lies where compiled sweeps can read it."""
    return tensor.device.type == "cpu" and tensor.dtype in (torch.int8, torch.int32)


def in_memory_order(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` with its dimensions in the order of memory, copied only where it is in neither of two orders.

    What a convolution returns lies as (b, h, c, w) and is seen as (b, c, h, w).
    """
    transposed = tensor.dim() == 4 and not tensor.is_contiguous()
    return tensor.transpose(1, 2).contiguous() if transposed else tensor.contiguous()


def flat(tensor: torch.Tensor) -> Array:
    return as_array(in_memory_order(tensor)).reshape(-1)


def largest_magnitude(integers: torch.Tensor) -> int:
    return int(_largest_magnitude(flat(integers))) if has_data(integers) else 0


def rounded(integers: torch.Tensor, shift: torch.Tensor, least: int, most: int) -> torch.Tensor:
    """int32 / 2**shift to the nearest, halves away from zero, clipped to least … most, as int8."""
    values = torch.empty_like(integers, dtype=torch.int8)
    if has_data(integers):
        _round(flat(integers), int(shift), least, most, flat(values))
    return values


def rounded_maxima(images: torch.Tensor, shift: torch.Tensor, least: int, most: int) -> torch.Tensor:
    """The same of the 2×2 maxima of (b, c, h, w) int32, in either order of memory: (b, c, h // 2, w // 2), contiguous,
    so that flattening copies nothing."""
    batch, channels, height, width = images.shape
    maxima = torch.empty((batch, channels, height // 2, width // 2), dtype=torch.int8)
    ordered = in_memory_order(images)
    if has_data(images):
        groups = (batch * channels, 1) if images.is_contiguous() else (batch, channels)
        rows = as_array(ordered).reshape(groups[0], height, groups[1], width)
        _round_maxima(rows, int(shift), least, most, as_array(maxima).reshape(*groups, height // 2, width // 2))
    return maxima


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
        width = max(_largest_of_direction(weights.numel(), low, high, levels, zeros) - 1, 0).bit_length()
        most = LARGEST if width > 0 else 0
        shift = max(width - bits, 0)
        _restore_and_update(flat(weights), low, high, levels, zeros, sign, shift, most, limit)


def unsigned(key: Key) -> tuple[np.uint64, np.uint64]:
    return np.uint64(key[0]), np.uint64(key[1])


@njit([int64(int32[::1]), int64(int8[::1])], nogil=True, cache=True)
def _largest_magnitude(integers: Any) -> Any:
    low = high = ZERO
    for i in range(integers.size):
        value = np.int32(integers[i])
        low, high = min(low, value), max(high, value)
    return max(np.int64(high), -np.int64(low))


@njit(int8(int32, int32, int32, int32, int32, int32), inline="always")
def _nearest(value: Any, shift: Any, half: Any, less: Any, least: Any, most: Any) -> Any:
    # A negative number needs half − 1, since >> rounds down; nothing when the shift is 0.
    shifted = (value + half - ((value >> SIGN_BIT) & less)) >> shift
    return np.int8(min(max(shifted, least), most))


@njit(void(int32[::1], int32, int32, int32, int8[::1]), nogil=True, cache=True)
def _round(integers: Any, shift: Any, least: Any, most: Any, values: Any) -> None:
    half = np.int32((ONE << shift) >> ONE)
    less = min(half, ONE)
    for i in range(values.size):
        values[i] = _nearest(integers[i], shift, half, less, least, most)


@njit(void(int32[:, :, :, ::1], int32, int32, int32, int8[:, :, :, ::1]), nogil=True, cache=True)
def _round_maxima(rows: Any, shift: Any, least: Any, most: Any, values: Any) -> None:
    half = np.int32((ONE << shift) >> ONE)
    less = min(half, ONE)
    groups, channels, height, width = values.shape
    for group in range(groups):
        for i in range(height):
            for channel in range(channels):
                upper, lower = rows[group, 2 * i, channel], rows[group, 2 * i + 1, channel]
                out = values[group, channel, i]
                for j in range(width):
                    left, right = max(upper[2 * j], lower[2 * j]), max(upper[2 * j + 1], lower[2 * j + 1])
                    out[j] = _nearest(max(left, right), shift, half, less, least, most)


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


@njit(
    [void(int32[::1], int32, int32, int8[::1]), void(int8[::1], int32, int32, int8[::1])],
    nogil=True,
    cache=True,
)
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
