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
is worked through piece after piece, so that the first two and the last stand for all (`memory/without_data.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from tightfit.memory.measured import STEPS_TO_PEAK, counted_bytes
from tightfit.memory.without_data import empty_like, twin_of, without_data
from tightfit.models.base import traits_of
from tightfit.optimizers.base import Batch, Objective, Optimizer


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
        for step in range(STEPS_TO_PEAK):
            learner.step(replace(batch, step=step))

    return peak_of(train, model, batch, device)


def peak_live_of_inference(
    model: nn.Module, batch: Batch, objective: Objective, device: torch.device | str = "cpu"
) -> int:
    """The most bytes alive at once in one pass of `model` over `batch` that keeps nothing for a backward pass."""
    return peak_of(torch.no_grad()(objective), model, batch, device)


def batch_like(model: nn.Module, example_shape: tuple[int, ...], batch_size: int) -> Batch:
    """A batch without data of the examples that `model` takes, on the meta device."""
    dtype = traits_of(model).input_dtype
    inputs = torch.empty((batch_size, *example_shape), dtype=dtype, device="meta")
    return Batch(inputs, torch.empty(batch_size, dtype=torch.int64, device="meta"), step=0, epoch=0.0)


def peak_of(work: Callable[[nn.Module, Batch], Any], model: nn.Module, batch: Batch, device: torch.device | str) -> int:
    """The most bytes alive at once while `work` is done on twins without data of `model`, which counts, and `batch`."""
    with without_data() as fake:
        twin = twin_of(model, fake, device)
        inputs, labels = (empty_like(tensor, fake, device) for tensor in (batch.inputs, batch.labels))
        given = replace(batch, inputs=inputs, labels=labels)
        return counted_bytes(lambda: work(twin, given), twin.parameters(), uncounted=(inputs, labels))
