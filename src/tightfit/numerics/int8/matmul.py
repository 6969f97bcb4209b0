"""Products of int8 matrices and images with int32 accumulators, by whichever means; all means agree bit for bit.

A convolution is one product too. The usual way lays out a window of the image for every output, which costs several
times the product itself. Here one row of the left matrix is a band: the window of a tile of outputs that lie side by
side. The right matrix repeats the kernel along its diagonals, once for every output of the tile. About half of it is
zeros, but int8 instructions multiply these sooner than a processor copies a window for each output.
"""

from __future__ import annotations

import functools
from itertools import product
from typing import Literal

import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import _disable_current_modes

from tightfit.numerics.int8.arithmetic import compiled_for
from tightfit.numerics.speed import has_fast_int8

# auto: int8 where the processor has instructions for it that are exact, and on CUDA; float32 elsewhere.
Backend = Literal["auto", "int8", "float32", "reference"]
BACKENDS = ("auto", "int8", "float32", "reference")
# Whole numbers up to 2**24 are exact in float32, and a product of two int8 values is at most 127².
TERMS_EXACT_IN_FLOAT32 = 2**24 // 127**2
# Of products by which int8 is tried: oneDNN has other code for vectors, and for sides that fill its tiles.
SIDES_TRIED = ((1, 2, 1), (1, 64, 48), (48, 64, 1), (3, 5, 7), (48, 64, 48))
TILE, LEAST_ROWS = 8, 17  # what torch._int_mm asks of CUDA tensors


def chosen(backend: Backend, device: torch.device) -> Backend:
    """The backend that `backend` stands for on `device`.

    Raises ValueError for int8 where its products are not exact.
    """
    if device.type != "cpu":
        return "int8" if backend == "auto" else backend
    if backend == "auto":
        return "int8" if int8_is_exact() and has_fast_int8() else "float32"
    if backend == "int8" and not int8_is_exact():
        raise ValueError(
            "backend=int8 but this processor's int8 products are wrong where sums of two pass 16 bits, for it has no "
            "VNNI; choose backend=auto or float32"
        )
    return backend


@functools.cache
def int8_is_exact() -> bool:
    """Whether `torch._int_mm` is exact on this CPU, by products of the largest numbers, which any saturation changes.

    Without VNNI oneDNN, which multiplies for PyTorch, makes one factor unsigned by adding 128, sums two products at a
    time in 16 bits that saturate (VPMADDUBSW), and takes the 128 out again: 127² + 127² comes out as 255.
    Source: oneDNN, doc/advanced_topics/int8_computations.md; src/cpu/gemm/s8x8s32/simple_gemm_s8s8s32.cpp.
    What watches operators does not see it.
    """
    with _disable_current_modes():
        return all(
            bool((torch._int_mm(filled(rows, inner, a), filled(inner, columns, b)) == inner * a * b).all())
            for (rows, inner, columns) in SIDES_TRIED
            for a, b in product((127, -127), repeat=2)
        )


def filled(rows: int, columns: int, value: int) -> torch.Tensor:
    return torch.full((rows, columns), value, dtype=torch.int8)


def check_backend(backend: str) -> None:
    """Raise ValueError for a name that is none."""
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r} does not multiply integers; choose {', '.join(BACKENDS)}")


def matmul(left: torch.Tensor, right: torch.Tensor, backend: Backend = "auto") -> torch.Tensor:
    """Left @ right, (m, k) and (k, n) int8 to (m, n) int32. Sums beyond int32 wrap.

    int8: the processor's int8 instructions. float32: of as many terms at once as are exact in it. reference: int64
    arithmetic.
    """
    means = chosen(backend, left.device)
    if means == "reference":
        return (left.to(torch.int64) @ right.to(torch.int64)).to(torch.int32)
    if means == "float32" and left.shape[1] > TERMS_EXACT_IN_FLOAT32:
        return sum_of_float32_products(left, right)
    if means == "float32":
        return (left.float() @ right.float()).to(torch.int32)
    if left.is_cuda:
        return matmul_of_whole_tiles(left, right)
    return torch._int_mm(with_plain_strides(left), with_plain_strides(right))


def sum_of_float32_products(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Left @ right by float32 products of at most `TERMS_EXACT_IN_FLOAT32` terms, summed in int32."""
    total = torch.zeros(len(left), right.shape[1], dtype=torch.int32, device=left.device)
    pieces = zip(left.split(TERMS_EXACT_IN_FLOAT32, 1), right.split(TERMS_EXACT_IN_FLOAT32), strict=True)
    for columns, rows in pieces:
        total.add_((columns.float() @ rows.float()).to(torch.int32))
    return total


def matmul_of_whole_tiles(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Left @ right for CUDA's int8 tensor cores: sides are filled up, and the right matrix lies column after column."""
    (rows, inner), columns = left.shape, right.shape[1]
    whole_rows, whole_inner, whole_columns = whole_tiles(rows, inner, columns)
    more_inner = whole_inner - inner
    padded_left = F.pad(left, (0, more_inner, 0, whole_rows - rows)).contiguous()
    padded_right = F.pad(right.t(), (0, more_inner, 0, whole_columns - columns)).contiguous().t()
    return torch._int_mm(padded_left, padded_right)[:rows, :columns].contiguous()


def whole_tiles(rows: int, inner: int, columns: int) -> tuple[int, int, int]:
    """The sides of a product that CUDA takes: the next multiples of 8, and more than 16 rows."""
    return whole(max(rows, LEAST_ROWS)), whole(inner), whole(columns)


def whole(side: int) -> int:
    return side + -side % TILE


def with_plain_strides(matrix: torch.Tensor) -> torch.Tensor:
    """`matrix` laid out row by row where a side of length 1 would leave its stride open.

    torch 2.13's _int_mm returns garbage for a transposed column, whose strides are (1, 1).
    """
    return matrix.contiguous().view(-1).view(matrix.shape) if 1 in matrix.shape else matrix


def convolve(images: torch.Tensor, weight: torch.Tensor, backend: Backend = "auto") -> torch.Tensor:
    """Convolution that keeps height and width: (b, c, h, w) and (o, c, k, k) int8, k odd, to (b, o, h, w).

    The whole numbers returned are int32, or float32 as they come out of exact float32 products: to convert them would
    take as long as a pass over them and room for them twice. They lie in memory as (b, h, w, o), and images that lie so
    are read without a copy.
    """
    batch, _, height, width = images.shape
    kernel = weight.shape[-1]
    in_floats = chosen(backend, images.device) == "float32" and not images.is_cuda  # cuDNN may transform: not exact
    if in_floats and weight[0].numel() <= TERMS_EXACT_IN_FLOAT32:
        pixels, filters = (each.to(torch.float32, memory_format=torch.channels_last) for each in (images, weight))
        return F.conv2d(pixels, filters, padding=kernel // 2)
    tile = tile_of(images, kernel)
    rows = matmul(bands(images, kernel, tile), band_matrix(weight, tile), backend)
    return rows.view(batch, height, width, len(weight)).permute(0, 3, 1, 2)


def tile_of(images: torch.Tensor, kernel: int) -> int:
    """How many outputs a band has: the least part of a row of `images` that is not below `kernel`.

    So a band matrix is half zeros, or a little more: half to a third of what there is to multiply for whole rows, and
    still columns enough to keep int8 instructions busy. A whole row where there is no compiled sweep, as operators take
    longer to copy what bands share, and on CUDA, as it fills its tiles.
    """
    width = images.shape[-1]
    if compiled_for(images) is None:
        return width
    return min((part for part in range(kernel, width) if width % part == 0), default=width)


def convolution_weight_gradient(
    images: torch.Tensor, errors: torch.Tensor, kernel: int, backend: Backend = "auto"
) -> torch.Tensor:
    """The (o, c, k, k) int32 gradient of `convolve` for errors (b, o, h, w) int8, summed over the batch."""
    outputs, tile = errors.shape[1], tile_of(images, kernel)
    rows = errors.permute(0, 2, 3, 1).reshape(-1, tile * outputs)  # (b·h·w / tile, tile·o)
    product = matmul(bands(images, kernel, tile).t(), rows, backend)
    return along_diagonals(product, images.shape[1], outputs, kernel, tile).sum(-1, dtype=torch.int32)


def convolution_input_error(errors: torch.Tensor, weight: torch.Tensor, backend: Backend = "auto") -> torch.Tensor:
    """The error (b, c, h, w) at the input of `convolve`: a convolution with the turned kernels."""
    return convolve(errors, weight.flip(2, 3).transpose(0, 1), backend)


def bands(images: torch.Tensor, kernel: int, tile: int) -> torch.Tensor:
    """The windows of (b, c, h, w) int8 images, padded with zeros, for `tile` outputs side by side.

    (b·h·w / tile, kernel·(tile + kernel − 1)·c): `kernel` rows of pixels, each with all its channels.
    """
    if sweeps := compiled_for(images):
        return sweeps.bands(images, kernel, tile)
    batch, channels, height, width = images.shape
    margin = kernel // 2
    padded = images.new_zeros(batch, height + 2 * margin, width + 2 * margin, channels)
    padded[:, margin : margin + height, margin : margin + width] = images.permute(0, 2, 3, 1)
    row, run = (width + 2 * margin) * channels, (tile + kernel - 1) * channels
    sides = batch, height, width // tile, kernel, run
    overlapping = padded.as_strided(sides, ((height + 2 * margin) * row, row, tile * channels, row, 1))
    return overlapping.reshape(-1, kernel * run).contiguous()  # of one image it would be a view


def band_matrix(weight: torch.Tensor, tile: int) -> torch.Tensor:
    """What a band is multiplied with for its outputs: (k·(tile + k − 1)·c, tile·o) from (o, c, k, k)."""
    outputs, channels, kernel, _ = weight.shape
    matrix = weight.new_zeros(kernel * (tile + kernel - 1) * channels, tile * outputs)
    along_diagonals(matrix, channels, outputs, kernel, tile).copy_(weight[..., None])
    return matrix


def along_diagonals(matrix: torch.Tensor, channels: int, outputs: int, kernel: int, tile: int) -> torch.Tensor:
    """View (o, c, k, k, tile) of a band matrix: for each weight its `tile` places, all others are left out."""
    column = tile * outputs  # from one channel of a pixel to the next
    across = channels * column  # from one pixel to the next
    return matrix.as_strided(
        (outputs, channels, kernel, kernel, tile),
        (1, column, (tile + kernel - 1) * across, across, across + outputs),
    )
