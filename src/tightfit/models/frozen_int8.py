"""Frozen weights in 8 bits, so that a base that no method changes takes half the bytes of 16 (or a quarter of 32).

Each row of a matrix is divided by its largest absolute value over 127 and rounded; the scale is multiplied back into
the product. A matrix is widened when it is used and forgotten after: one at a time, in the backward pass too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

LARGEST = 127


class FrozenInt8Linear(nn.Module):
    """What `linear` computes, with its weights rounded to 8 bits. Gradients reach its inputs, not its weights."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()  # (o, i)
        scale = weight.abs().amax(dim=1).float().clamp_min(torch.finfo(torch.float32).tiny) / LARGEST  # (o,)
        rounded = (weight.float() / scale[:, None]).round().to(torch.int8)
        self.weight = nn.Parameter(rounded, requires_grad=False)
        self.scale = nn.Parameter(scale.to(weight.dtype), requires_grad=False)
        self.bias = linear.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        product = Product.apply(inputs, self.weight) * self.scale
        return product if self.bias is None else product + self.bias


class Product(torch.autograd.Function):
    """inputs (…, i) times weight (o, i) int8. Written out because autograd would keep every widened matrix."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weight)
        return inputs @ weight.to(inputs.dtype).T

    @staticmethod
    def backward(ctx: Any, *errors: torch.Tensor) -> tuple[torch.Tensor, None]:
        (weight,) = ctx.saved_tensors
        return errors[0] @ weight.to(errors[0].dtype), None


def to_int8_(model: nn.Module, but: frozenset[str]) -> int:
    """Replace the linear layers of `model` by frozen ones of 8 bits, except those whose weights `but` names; returns
    how many were replaced."""
    replaced = 0
    for name, parent in list(model.named_modules()):
        for child_name, child in list(parent.named_children()):
            weight = f"{name}.{child_name}.weight".removeprefix(".")
            if type(child) is nn.Linear and weight not in but:
                setattr(parent, child_name, FrozenInt8Linear(child))
                replaced += 1
    return replaced
