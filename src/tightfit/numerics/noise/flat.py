"""A tensor in the order of its memory, so that it can be swept through in place whatever its layout."""

from __future__ import annotations

import torch


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` (…) as (n,), in the same memory and in its order: channels_last and transposed tensors too.

    Raises ValueError where elements share memory, or have gaps between them.
    """
    if tensor.is_contiguous():
        return tensor.view(-1)
    outermost_first = sorted(range(tensor.dim()), key=lambda axis: (-tensor.stride(axis), -tensor.shape[axis]))
    in_order = tensor.permute(outermost_first)
    if not in_order.is_contiguous():
        raise ValueError(
            f"weights of shape {list(tensor.shape)} with strides {list(tensor.stride())} do not fill their memory, so "
            "they cannot be moved in place; make them contiguous before"
        )
    return in_order.view(-1)


def shaped_as(values: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """Flat `values` in the shape and the layout of `tensor`, of which they are the elements in order."""
    return values.view(tensor.shape) if tensor.is_contiguous() else values.as_strided(tensor.shape, tensor.stride())
