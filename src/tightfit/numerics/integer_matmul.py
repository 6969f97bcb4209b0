"""Products of int8 matrices and images with int32 accumulators, by whichever means; all means agree bit for bit.

A convolution is one product too. The usual way lays out a window of the image for every output, which costs several
times the product itself. Here one row of the left matrix is a band of `kernel` whole image rows, which lie one after
the other in memory already, and the right matrix repeats the kernel along its diagonals, once for every column of the
output. Most of it is zeros, but int8 instructions multiply these sooner than a processor copies windows.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional as F

Backend = Literal["int8", "float32", "reference"]
# Whole numbers up to 2**24 are exact in float32; a product of two int8 values is at most 127².
EXACT_IN_FLOAT32 = 2**24
LARGEST_PRODUCT = 127 * 127
TILE, TILE_ROWS = 8, 17  # what torch._int_mm asks of CUDA tensors


def matmul(left: torch.Tensor, right: torch.Tensor, backend: Backend = "int8") -> torch.Tensor:
    """Left @ right, (m, k) and (k, n) int8 to (m, n) int32. Sums beyond int32 wrap.

    int8: the processor's int8 instructions. float32: exact, where sums of k products cannot reach 2**24; where
    they can, int8 is used. reference: int64 arithmetic.
    """
    if backend == "reference":
        return (left.to(torch.int64) @ right.to(torch.int64)).to(torch.int32)
    if backend == "float32" and left.shape[1] * LARGEST_PRODUCT < EXACT_IN_FLOAT32:
        return (left.float() @ right.float()).to(torch.int32)
    if left.is_cuda:
        return matmul_of_whole_tiles(left, right)
    return torch._int_mm(with_plain_strides(left), with_plain_strides(right))


def matmul_of_whole_tiles(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Left @ right for CUDA's int8 tensor cores, which take at least 17 rows, and multiples of 8 inside and across."""
    rows, inner, columns = *left.shape, right.shape[1]
    more_rows, more_inner, more_columns = max(TILE_ROWS - rows, 0), -inner % TILE, -columns % TILE
    product = torch._int_mm(F.pad(left, (0, more_inner, 0, more_rows)), F.pad(right, (0, more_columns, 0, more_inner)))
    return product[:rows, :columns].contiguous()


def with_plain_strides(matrix: torch.Tensor) -> torch.Tensor:
    """`matrix` laid out row by row where a side of length 1 would leave its stride open.

    torch 2.13's _int_mm returns garbage for a transposed column, whose strides are (1, 1).
    """
    return matrix.contiguous().view(-1).view(matrix.shape) if 1 in matrix.shape else matrix


def convolve(images: torch.Tensor, weight: torch.Tensor, backend: Backend = "int8") -> torch.Tensor:
    """Convolution that keeps height and width: (b, c, h, w) and (o, c, k, k) int8, k odd, to (b, o, h, w) int32."""
    batch, _, height, width = images.shape
    if backend == "float32" and weight[0].numel() * LARGEST_PRODUCT < EXACT_IN_FLOAT32:
        return F.conv2d(images.float(), weight.float(), padding=weight.shape[-1] // 2).to(torch.int32)
    rows = matmul(bands(images, weight.shape[-1]), band_matrix(weight, width), backend)
    return rows.view(batch, height, len(weight), width).transpose(1, 2)


def convolution_weight_gradient(
    images: torch.Tensor, errors: torch.Tensor, kernel: int, backend: Backend = "int8"
) -> torch.Tensor:
    """The (o, c, k, k) int32 gradient of `convolve` for errors (b, o, h, w) int8, summed over the batch."""
    outputs, width = errors.shape[1], errors.shape[3]
    rows = errors.transpose(1, 2).reshape(-1, outputs * width)  # (b·h, o·w)
    product = matmul(bands(images, kernel).t(), rows, backend)
    return along_diagonals(product, images.shape[1], outputs, kernel, width).sum(-1, dtype=torch.int32)


def convolution_input_error(errors: torch.Tensor, weight: torch.Tensor, backend: Backend = "int8") -> torch.Tensor:
    """The int32 error (b, c, h, w) at the input of `convolve`: a convolution with the turned kernels."""
    return convolve(errors, weight.flip(2, 3).transpose(0, 1), backend)


def bands(images: torch.Tensor, kernel: int) -> torch.Tensor:
    """The `kernel` rows around each row of the zero-padded (b, c, h, w) images: (b·h, kernel·c·(w + kernel − 1))."""
    batch, channels, height, width = images.shape
    margin = kernel // 2
    padded = images.new_zeros(batch, height + 2 * margin, channels, width + 2 * margin)
    padded[:, margin : margin + height, :, margin : margin + width] = images.transpose(1, 2)
    row = channels * (width + 2 * margin)
    overlapping = padded.as_strided((batch, height, kernel * row), ((height + 2 * margin) * row, row, 1))
    return overlapping.reshape(batch * height, kernel * row).contiguous()  # of one image it would be a view


def band_matrix(weight: torch.Tensor, width: int) -> torch.Tensor:
    """What a band is multiplied with for a row of outputs: (k·c·(w + k − 1), o·w) from (o, c, k, k)."""
    outputs, channels, kernel, _ = weight.shape
    matrix = weight.new_zeros(kernel * channels * (width + kernel - 1), outputs * width)
    along_diagonals(matrix, channels, outputs, kernel, width).copy_(weight[..., None])
    return matrix


def along_diagonals(matrix: torch.Tensor, channels: int, outputs: int, kernel: int, width: int) -> torch.Tensor:
    """View (o, c, k, k, w) of a band matrix: for each weight its `width` places, all others are left out."""
    column = outputs * width  # from one row of the matrix to the next
    across = (width + kernel - 1) * column  # from one channel to the next
    return matrix.as_strided(
        (outputs, channels, kernel, kernel, width), (width, across, channels * across, column, column + 1)
    )
