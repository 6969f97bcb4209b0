"""Steps rehearsed without data: the convention `peak_live`, the bytes alive at the worst moment of a real step.

The learner that would train is bound to a twin of the model whose tensors have shapes, types and a device but no
memory (PyTorch's fake tensors), and steps. What its operators return is followed until it is freed, just as the
measured peak follows it. So liveness needs no equation for any method: work in place, early frees, gradients and
optimizer states are there because the method's own code makes them. Nothing is allocated or computed.

Exact: every tensor that an operator returns, in its true type. Operators are chosen as real tensors on that device
would have them chosen, fused attention included.
Not seen, and not in the measured peak on CPU either: what an operator allocates and frees before it returns. On CUDA
the allocator's rounding and the libraries' workspaces come on top.
Assumed: a number read from a tensor, such as a loss, is 1, and no size depends on it; a tensor cut into many pieces
is worked through piece after piece, so that the first two and the last stand for all.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tightfit.memory.measured import peak_live_bytes
from tightfit.optimizers.base import Batch, Objective, Optimizer

REHEARSED_STEPS = 2  # optimizer states exist from the second on
MANY_PIECES = 64  # a perturbation of 13 billion weights would be rehearsed in 800,000


def peak_live(
    optimizer: Optimizer,
    model: nn.Module,
    batch: Batch,
    objective: Objective,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> int:
    """The most bytes alive at once while `optimizer` trains `model` on batches like `batch`, which does not count.

    model, batch: only shapes and types are read; both may be on the meta device. device: where training would be.
    Raises ValueError where sizes depend on data, and whatever `optimizer.bind` raises.
    """

    def train(twin: nn.Module, batch: Batch) -> None:
        learner = optimizer.bind(twin, objective, seed)
        for step in range(REHEARSED_STEPS):
            learner.step(replace(batch, step=step))

    return peak_of(train, model, batch, device)


def peak_live_of_inference(
    model: nn.Module, batch: Batch, objective: Objective, device: torch.device | str = "cpu"
) -> int:
    """The most bytes alive at once in one pass of `model` over `batch` that keeps nothing for a backward pass."""
    return peak_of(torch.no_grad()(objective), model, batch, device)


def batch_like(model: nn.Module, example_shape: tuple[int, ...], batch_size: int) -> Batch:
    """A batch without data of the examples that `model` takes, on the meta device."""
    dtype = getattr(model, "input_dtype", torch.float32)
    inputs = torch.empty((batch_size, *example_shape), dtype=dtype, device="meta")
    return Batch(inputs, torch.empty(batch_size, dtype=torch.int64, device="meta"), step=0, epoch=0.0)


def peak_of(work: Callable[[nn.Module, Batch], Any], model: nn.Module, batch: Batch, device: torch.device | str) -> int:
    """The most bytes alive at once while `work` is done on twins without data of `model`, which counts, and `batch`."""
    with without_data() as fake:
        twin = twin_of(model, fake, device)
        inputs, labels = (empty_like(tensor, fake, device) for tensor in (batch.inputs, batch.labels))
        given = replace(batch, inputs=inputs, labels=labels)
        return peak_live_bytes(lambda: work(twin, given), twin.parameters(), uncounted=(inputs, labels))


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
