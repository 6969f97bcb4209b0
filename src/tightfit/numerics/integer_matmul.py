"""Products of int8 matrices and images with int32 accumulators, by whichever means; all means agree bit for bit."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional as F

Backend = Literal["int8", "float32", "reference"]
# Whole numbers up to 2**24 are exact in float32; a product of two int8 values is at most 127².
EXACT_IN_FLOAT32 = 2**24
LARGEST_PRODUCT = 127 * 127
# Windows are laid out for a few images at a time, at most this many bytes: they stay in the cache and add little
# to the peak, where those of a whole batch would be the largest tensor of a step.
PATCH_BYTES = 2**17


def matmul(left: torch.Tensor, right: torch.Tensor, backend: Backend = "int8") -> torch.Tensor:
    """Left @ right, (m, k) and (k, n) int8 to (m, n) int32. Sums beyond int32 wrap.

    int8: the processor's int8 instructions. float32: exact, where sums of k products cannot reach 2**24; where
    they can, int8 is used. reference: int64 arithmetic.
    """
    if backend == "reference":
        return (left.to(torch.int64) @ right.to(torch.int64)).to(torch.int32)
    if backend == "float32" and left.shape[1] * LARGEST_PRODUCT < EXACT_IN_FLOAT32:
        return (left.float() @ right.float()).to(torch.int32)
    return torch._int_mm(with_plain_strides(left), with_plain_strides(right))


def with_plain_strides(matrix: torch.Tensor) -> torch.Tensor:
    """`matrix` laid out row by row, also where a side of length 1 would leave its stride open.

    torch 2.13's _int_mm returns garbage for a transposed column, whose strides are (1, 1).
    """
    return matrix.contiguous().view(-1).view(matrix.shape)


def patches(images: torch.Tensor, kernel: int) -> torch.Tensor:
    """Every kernel × kernel window of the zero-padded (b, c, h, w) images as a row: (b·h·w, c·kernel²)."""
    padded = F.pad(images, [kernel // 2] * 4)
    windows = padded.unfold(2, kernel, 1).unfold(3, kernel, 1)  # (b, c, h, w, kernel, kernel), a view
    return windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1] * kernel * kernel)


def convolve(images: torch.Tensor, weight: torch.Tensor, backend: Backend = "int8") -> torch.Tensor:
    """Convolution that keeps height and width: (b, c, h, w) and (o, c, k, k) int8, k odd, to (b, o, h, w) int32."""
    kernel = weight.shape[-1]
    if backend == "float32" and weight[0].numel() * LARGEST_PRODUCT < EXACT_IN_FLOAT32:
        return F.conv2d(images.float(), weight.float(), padding=kernel // 2).to(torch.int32)
    batch, _, height, width = images.shape
    columns = weight.flatten(1).t()
    rows = torch.empty(batch * height * width, len(weight), dtype=torch.int32, device=images.device)
    few = images_at_once(images, kernel)
    for part, out in zip(images.split(few), rows.split(few * height * width), strict=True):
        out.copy_(matmul(patches(part, kernel), columns, backend))
    return rows.view(batch, height, width, len(weight)).permute(0, 3, 1, 2)


def convolution_weight_gradient(
    images: torch.Tensor, errors: torch.Tensor, kernel: int, backend: Backend = "int8"
) -> torch.Tensor:
    """The (o, c, k, k) int32 gradient of `convolve` for errors (b, o, h, w) int8, summed over the batch."""
    channels, few = images.shape[1], images_at_once(images, kernel)
    gradient = torch.zeros(errors.shape[1], channels * kernel**2, dtype=torch.int32, device=images.device)
    for part, error in zip(images.split(few), errors.split(few), strict=True):
        rows = error.permute(1, 0, 2, 3).reshape(error.shape[1], -1)  # (o, part·h·w)
        gradient += matmul(rows, patches(part, kernel), backend)
    return gradient.view(-1, channels, kernel, kernel)


def images_at_once(images: torch.Tensor, kernel: int) -> int:
    """How many images of (b, c, h, w) have windows of at most PATCH_BYTES; at least one."""
    return max(1, PATCH_BYTES // (images[0].numel() * kernel**2))


def convolution_input_error(errors: torch.Tensor, weight: torch.Tensor, backend: Backend = "int8") -> torch.Tensor:
    """The int32 error (b, c, h, w) at the input of `convolve`: a convolution with the turned kernels."""
    return convolve(errors, weight.flip(2, 3).transpose(0, 1).contiguous(), backend)
