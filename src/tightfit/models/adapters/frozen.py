"""Frozen weights in 8 or 4 bits, so that a base that no method changes takes a half or a quarter of 16 bits.

The weights of a row (8 bits) or of 64 neighbours in it (4 bits) are divided by their largest absolute value over 127
or 7 and rounded. A matrix is widened when it is used and forgotten after: one at a time, in the backward pass too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tightfit.models.widening import WideLinear

GROUP = 64  # weights of 4 bits that share a scale


class FrozenLinear(nn.Module, ABC):
    """What `linear` computes, with its weights rounded. Gradients reach its inputs, not its weights."""

    def __init__(self, linear: nn.Linear, largest: int, group: int) -> None:
        """Sets `weight`, (o, i) int8 in −largest … largest, and `scale`, (o, i / group), of the type of the weights."""
        super().__init__()
        weight = linear.weight.detach()  # (o, i)
        groups = weight.float().unflatten(1, (-1, group))
        scale = groups.abs().amax(dim=2).clamp_min(torch.finfo(torch.float32).tiny) / largest
        rounded = (groups / scale[:, :, None]).round().to(torch.int8).flatten(1)
        self.weight = nn.Parameter(rounded, requires_grad=False)
        self.scale = nn.Parameter(scale.to(weight.dtype), requires_grad=False)
        self.bias = linear.bias

    @abstractmethod
    def widened(self, dtype: torch.dtype) -> torch.Tensor:
        """(o, i), as `product` multiplies it."""

    def product(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs (…, i) times the weights, without the bias: (…, o)."""
        return Product.apply(inputs, self.widened)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        product = self.product(inputs)
        return product if self.bias is None else product + self.bias


class FrozenInt8Linear(FrozenLinear):
    """One scale for a row, multiplied into the product."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear, largest=127, group=linear.in_features)

    def widened(self, dtype: torch.dtype) -> torch.Tensor:
        return self.weight.to(dtype)

    def product(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().product(inputs) * self.scale[:, 0]


class FrozenInt4Linear(FrozenLinear):
    """Two weights in a byte, that of the left half of a row below; a scale for each 64, or for a row no multiple of it.

    Raises ValueError where rows have no halves.
    """

    def __init__(self, linear: nn.Linear) -> None:
        inputs = linear.in_features
        if inputs % 2:
            raise ValueError(f"a linear layer of {inputs} inputs has no pairs for 4 bits; set adapter.frozen_bits=8")
        super().__init__(linear, largest=7, group=inputs if inputs % GROUP else GROUP)
        left, right = (self.weight + 8).view(torch.uint8).chunk(2, dim=1)
        self.weight = nn.Parameter(left | right << 4, requires_grad=False)  # (o, i / 2)

    def widened(self, dtype: torch.dtype) -> torch.Tensor:
        weight = torch.cat([self.weight & 15, self.weight >> 4], dim=1).to(dtype).sub_(8)
        return weight.unflatten(1, (self.scale.shape[1], -1)).mul_(self.scale.to(dtype)[:, :, None]).flatten(1)


FROZEN: dict[int, Callable[[nn.Linear], FrozenLinear]] = {8: FrozenInt8Linear, 4: FrozenInt4Linear}


class Product(torch.autograd.Function):
    """inputs (…, i) times what `widened` returns (o, i). Written out because autograd would keep every matrix."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, widened: Callable[[torch.dtype], torch.Tensor]) -> torch.Tensor:
        ctx.widened = widened
        return inputs @ widened(inputs.dtype).T

    @staticmethod
    def backward(ctx: Any, *errors: torch.Tensor) -> tuple[torch.Tensor, None]:
        return errors[0] @ ctx.widened(errors[0].dtype), None

    @staticmethod
    def jvp(ctx: Any, *tangents: torch.Tensor) -> torch.Tensor:
        return tangents[0] @ ctx.widened(tangents[0].dtype).T


def freeze_(model: nn.Module, bits: int, but: frozenset[str]) -> int:
    """Replace the linear layers of `model` by frozen ones of 8 or 4 `bits`, except those whose weights `but` names;
    returns how many were replaced."""
    replaced = 0
    for name, parent in list(model.named_modules()):
        for child_name, child in list(parent.named_children()):
            weight = f"{name}.{child_name}.weight".removeprefix(".")
            if type(child) in (nn.Linear, WideLinear) and weight not in but:
                setattr(parent, child_name, FROZEN[bits](child))
                replaced += 1
    return replaced
