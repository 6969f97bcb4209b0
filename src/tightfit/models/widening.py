"""Weights held in 16 bits and multiplied in float32, for processors that are slow at products of 16 bits.

The model computes what it would with its weights widened once and for all, at half their bytes: a matrix is widened
where it is used, a block of its rows at a time, and forgotten after; in the backward pass too. Vectors (norms, biases)
are few and become float32. Only the gradient of an embedding that is trained is summed over tokens in 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tightfit.numerics.speed import FAST_16_BITS, has_fast_16_bits

AUTO, WIDE = "auto", "float32"
LEAST_ROWS, BLOCK = 256, 2**22  # rows of a block, and weights where these are not more


def computing_type(compute: str | None, dtype: str, device: str = "cpu") -> str:
    """The type that a model whose weights are held in `dtype` computes in.

    compute: null for that of its weights, float32, or auto: on a CPU float32 where products of 16 bits are slow.
    Raises ValueError for another type.
    """
    if compute not in (None, AUTO, WIDE, dtype):
        types = " or ".join(dict.fromkeys((WIDE, dtype)))
        raise ValueError(f"model.compute={compute!r} but the weights are held in {dtype}; choose {AUTO}, {types}")
    if compute == AUTO:
        held = getattr(torch, dtype, None)
        is_slow = held in FAST_16_BITS and device == "cpu" and not has_fast_16_bits(held)
        return WIDE if is_slow else dtype
    return compute or dtype


def widen_(model: nn.Module) -> None:
    """Have `model`, whose weights are of 16 bits, compute in float32."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, WideLinear(child))
            elif type(child).__name__ == "Conv1D":
                child.__class__ = wide_kind(type(child))
            elif isinstance(child, nn.Embedding):
                child.register_forward_hook(in_float32)
    for vector in model.parameters():
        if vector.dim() < 2 and vector.dtype in FAST_16_BITS:
            vector.data = vector.data.float()


def in_float32(_: nn.Module, __: Any, rows: torch.Tensor) -> torch.Tensor:
    return rows.float()


class WideLinear(nn.Linear):
    """What `linear` computes, in float32, with the same parameters."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return WideProduct.apply(input, self.weight, self.bias)


@cache
def wide_kind(kind: type[nn.Module]) -> type[nn.Module]:
    """The same of GPT-2's linear layers, whose weights lie the other way, (i, o): still of their `kind`, for peft."""

    def forward(self: Any, inputs: torch.Tensor) -> torch.Tensor:
        return WideProduct.apply(inputs, self.weight.t(), self.bias)

    return type(f"Wide{kind.__name__}", (kind,), {"forward": forward})


class WideProduct(torch.autograd.Function):
    """inputs (…, i) times weights (o, i), plus a bias. Written out because autograd would keep every wide matrix."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(inputs if weight.requires_grad else None, weight)
        if len(blocks := list(blocks_of(weight))) == 1:
            return F.linear(inputs, weight.float(), bias)
        outputs = inputs.new_empty(*inputs.shape[:-1], len(weight))
        for rows in blocks:
            part = None if bias is None else bias[rows]
            outputs[..., rows] = F.linear(inputs, weight[rows].float(), part)
        return outputs

    @staticmethod
    def backward(ctx: Any, *of_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        errors, (inputs, weight) = of_outputs[0], ctx.saved_tensors
        for_inputs, for_weight, for_bias = ctx.needs_input_grad
        return (
            errors_of_inputs(errors, weight) if for_inputs else None,
            gradient(errors.flatten(0, -2), inputs.flatten(0, -2), weight) if for_weight else None,
            errors.flatten(0, -2).sum(0) if for_bias else None,
        )


def blocks_of(weight: torch.Tensor) -> Iterator[slice]:
    """The rows of `weight`, (o, i), that are wide at one time."""
    rows = max(LEAST_ROWS, BLOCK // weight.shape[1])
    return (slice(start, min(start + rows, len(weight))) for start in range(0, len(weight), rows))


def errors_of_inputs(errors: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Of errors (…, o) at the outputs, those at the inputs, (…, i)."""
    first, *others = blocks_of(weight)
    total = errors[..., first] @ weight[first].float()
    for rows in others:
        total += errors[..., rows] @ weight[rows].float()
    return total


def gradient(errors: torch.Tensor, inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Of errors (n, o) and inputs (n, i), in the type of `weight`."""
    of_weight = torch.empty_like(weight)
    for rows in blocks_of(weight):
        of_weight[rows] = errors[:, rows].t() @ inputs
    return of_weight
