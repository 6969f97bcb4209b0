"""Tensors without data: shapes, types and a device, and no memory behind them (PyTorch's fake tensors)."""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

MANY_PIECES = 64  # a perturbation of 13 billion weights is cut into 800,000


def twin_of(model: nn.Module, fake: FakeTensorMode, device: torch.device | str) -> nn.Module:
    """A copy of `model` without data on `device`; weights that are tied stay tied."""
    twins: dict[int, Any] = {id(buffer): empty_like(buffer, fake, device) for buffer in model.buffers()}
    for weight in model.parameters():
        twins[id(weight)] = nn.Parameter(empty_like(weight, fake, device), weight.requires_grad)
    return copy.deepcopy(model, twins)


def empty_like(tensor: torch.Tensor, fake: FakeTensorMode, device: torch.device | str) -> torch.Tensor:
    """Shape, strides and type of `tensor` and nothing else, on `device`."""
    with fake:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)


@contextmanager
def without_data() -> Generator[FakeTensorMode]:
    """Inside, tensors are made without data. Raises ValueError for an operator that cannot do without."""
    try:
        # A tensor that is neither parameter nor buffer, such as a table of constants, is taken as it is.
        with FakeTensorMode(allow_non_fake_inputs=True) as fake, WithoutValues():
            yield fake
    except (DataDependentOutputException, DynamicOutputShapeException) as refused:
        raise ValueError(
            f"{refused.func} has a result whose size depends on data, so the step cannot be rehearsed; "
            "choose decided_by=measured"
        ) from refused


class WithoutValues(TorchDispatchMode):
    """Gives what tensors without data cannot: each number read from one is 1. Cuts into many pieces give three."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1.0 if args[0].is_floating_point() else 1
        if func is torch.ops.aten.split.Tensor and args[0].dim() == 1 and len(args[0]) > MANY_PIECES * args[1]:
            return three_pieces(*args[:2])
        return func(*args, **(kwargs or {}))


def three_pieces(tensor: torch.Tensor, size: int) -> list[torch.Tensor]:
    """The first two and the last of the pieces of `size` elements into which `tensor` would be split."""
    rest = (len(tensor) - 1) % size + 1
    return [tensor[:size], tensor[size : 2 * size], tensor[-rest:]]
