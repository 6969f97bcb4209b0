"""A tensor in the order of its memory, so that it can be swept through in place whatever its layout."""

from __future__ import annotations

import torch


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` (…) as (n,), in the same memory and in its order: channels_last and transposed tensors too.

    Raises ValueError where elements share memory, or have gaps between them.
    """
    if tensor.is_contiguous():
        return tensor.view(-1)
    in_order = tensor.permute(outermost_first(tensor))
    if not in_order.is_contiguous():
        raise ValueError(
            f"weights of shape {list(tensor.shape)} with strides {list(tensor.stride())} do not fill their memory, so "
            "they cannot be moved in place; make them contiguous before"
        )
    return in_order.view(-1)


def outermost_first(tensor: torch.Tensor) -> list[int]:
    """The axes of `tensor` in the order of its memory."""
    return sorted(range(tensor.dim()), key=lambda axis: (-tensor.stride(axis), -tensor.shape[axis]))


def matrix_shape(tensor: torch.Tensor) -> tuple[int, int]:
    """(m, n) of `tensor`, of two axes or more, as a matrix in the order of its memory: the kernels of a convolution are
    m × (channels in · height · width)."""
    rows = tensor.shape[0 if tensor.is_contiguous() else outermost_first(tensor)[0]]
    return rows, tensor.numel() // rows


def shaped_as(values: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """Flat `values` in the shape and the layout of `tensor`, of which they are the elements in order."""
    return values.view(tensor.shape) if tensor.is_contiguous() else values.as_strided(tensor.shape, tensor.stride())
