"""What an integer convolution needs around its product, each as one compiled sweep. Needs numba (extra `fast`).

Images lie in memory as (b, h, w, c), rows of w·c numbers, where neighbours in a row are c numbers apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32, int8, int32, int64, njit, void

from tightfit.numerics.compiled import BLOCK_BYTES, copy_run

ZERO, ONE, SIGN_BIT = np.int32(0), np.int32(1), np.int32(31)
LANES = 64  # numbers by which loops advance where nothing is to be left over: a rest is done one by one


@njit(int8(int32, int32, int32, int32, int32, int32), inline="always")
def nearest(value: Any, shift: Any, half: Any, less: Any, least: Any, most: Any) -> Any:
    # A negative number needs half − 1, since >> rounds down; nothing when the shift is 0.
    shifted = (value + half - ((value >> SIGN_BIT) & less)) >> shift
    return np.int8(min(max(shifted, least), most))


@njit(void(int8[:, :, ::1], int64, int64, int64, int8[::1]), nogil=True, cache=True)
def fill_bands(images: Any, channels: Any, kernel: Any, tile: Any, out: Any) -> None:
    """Write to `out`, which has a block more, `kernel` rows of tile + kernel − 1 pixels for each tile of each row."""
    batch, height, width = images.shape
    margin = kernel // 2
    rows, length = height + 2 * margin, width + 2 * margin * channels
    padded = np.zeros(rows * length + BLOCK_BYTES, np.int8)[: rows * length].reshape(rows, length)
    row, run = np.uint64(length), (tile + kernel - 1) * channels
    start, at = np.uint64(padded.ctypes.data), np.uint64(out.ctypes.data)
    for image in range(batch):
        for i in range(height):
            inner = padded[margin + i, margin * channels : margin * channels + width]
            for k in range(width):
                inner[k] = images[image, i, k]
        for i in range(height):
            for k in range(0, width, tile * channels):
                for down in range(kernel):
                    copy_run(at, start + np.uint64(i + down) * row + np.uint64(k), run)
                    at += np.uint64(run)


@njit(
    [void(kind[::1], int64, int64, int64, int32, int32, int32, int8[::1]) for kind in (int32, float32)],
    nogil=True,
    cache=True,
)
def round_maxima(
    images: Any, height: Any, width: Any, channels: Any, shift: Any, least: Any, most: Any, out: Any
) -> None:
    """Write the rounded maxima of 2×2 windows of all images to `out`, which has a block more.

    Windows are taken at every pixel of every other row, and half of them left out afterwards: loops over neighbours in
    memory do many numbers at once, and those over windows one at a time.
    """
    half = np.int32((ONE << shift) >> ONE)
    less = min(half, ONE)
    row = width * channels
    rounded = np.empty((height // 2, row + LANES), np.int8)
    start, step, at = np.uint64(rounded.ctypes.data), np.uint64(row + LANES), np.uint64(out.ctypes.data)
    for image in range(0, images.size, height * row):
        for i in range(height // 2):
            first = image + 2 * i * row
            size = min((row + LANES - 1) // LANES * LANES, images.size - first - row - channels)
            here, right = images[first : first + size], images[first + channels : first + channels + size]
            below = images[first + row : first + row + size]
            across = images[first + row + channels : first + row + channels + size]
            line = rounded[i, :size]
            for k in range(size):
                upper, lower = max(int32(here[k]), int32(right[k])), max(int32(below[k]), int32(across[k]))
                line[k] = nearest(max(upper, lower), shift, half, less, least, most)
        for i in range(height // 2):
            for j in range(width // 2):
                copy_run(at, start + np.uint64(i) * step + np.uint64(2 * j * channels), channels)
                at += np.uint64(channels)
