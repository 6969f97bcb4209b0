"""Layers of an int8 graph that is trained in place, with quantization-aware scaling (Lin et al., 2022, 2206.15472).

A real number is scale · (whole number − zero), and whole numbers lie from −128 to 127: of weights with a scale for each
output and zero 0, of activations with one scale and one zero for a tensor, both fixed. Biases are in units of a weight
times an input. So a layer sums products of whole numbers, and rounds and clips the sums to those that it gives; where
the zero is the least one, that clip is a ReLU too.

Autograd knows no integers, so whole numbers are held in float32. Trained weights lie between whole numbers, where steps
add up, and are rounded when they are used: they take four bytes each. Frozen ones take one. Rounding is passed over in
the backward pass, clipping stops errors. A layer keeps its inputs in int8, and which outputs were clipped.

Scaling: gradients of weights are divided by the square of their scale, those of biases by that of their unit. A step
of gradient descent, momentum and weight decay too, is then the step of the real numbers. Weights of any scale move as
they do there; without it they move by its square too little or too much, and one rate does not serve all layers.

Shapes: b examples, i inputs, o outputs, c trained input channels.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

from tightfit.memory.table import LayerRow
from tightfit.models.pooling import MaxPool2x2

LEAST, MOST = -128, 127
# Weights as drawn reach this whole number, so that training can make them four times as large.
LARGEST_DRAWN = 32
WIDE, NARROW = 4, 1  # bytes of a trained weight, a bias or an error; of a frozen weight or an activation


@dataclass(frozen=True)
class Affine:
    """Whole numbers that stand for scale · (whole number − zero)."""

    scale: float
    zero: int


class QuantizedLayer(nn.Module, ABC):
    """given, gives: what inputs and outputs stand for; gives=None: the outputs are real numbers, not rounded.

    places: at how many places of an example the weights are used. scaled: whether gradients are.
    """

    weight_scale: torch.Tensor
    order: torch.Tensor
    channels: torch.Tensor

    def __init__(self, shape: tuple[int, ...], given: Affine, gives: Affine | None, places: int, scaled: bool) -> None:
        """Weights are drawn uniformly (He et al., 2015), biases are zero."""
        super().__init__()
        bound = math.sqrt(6 / math.prod(shape[1:]))
        drawn = torch.empty(shape).uniform_(-bound, bound)
        scale = drawn.flatten(1).abs().amax(1) / LARGEST_DRAWN
        self.given, self.gives, self.scaled = given, gives, scaled
        self._inputs, self._places = shape[1], places
        self.weight: nn.Parameter | None = nn.Parameter((drawn / self.along(scale, 0)).round())
        self.bias = nn.Parameter(torch.zeros(shape[0]))
        self.frozen: nn.Parameter | None = None
        self.register_buffer("weight_scale", scale)  # (o,)

    def train_channels_(self, channels: torch.Tensor) -> None:
        """From now on the weights of these input channels, (c,) in order, are trained alone; others are held in int8.

        Nothing changes where these are all channels.
        """
        assert self.weight is not None
        count = self.weight.shape[1]
        if len(channels) == count:
            return
        rest = torch.tensor([place for place in range(count) if place not in set(channels.tolist())])
        whole = self.weight.detach()
        self.frozen = nn.Parameter(as_int8(whole[:, rest]), requires_grad=False)
        self.weight = nn.Parameter(whole[:, channels].clone()) if len(channels) else None
        self.register_buffer("channels", channels)
        self.register_buffer("order", torch.cat([rest, channels]).argsort())

    def whole_numbers(self) -> torch.Tensor:
        """The weights as they are used, (o, i, …) in float32."""
        if self.frozen is None:
            assert self.weight is not None
            return self.weight.detach().round().clamp_(LEAST, MOST)
        if self.weight is None:
            return self.frozen.float()
        return torch.cat([self.frozen, as_int8(self.weight.detach())], 1).index_select(1, self.order).float()

    def of_trained(self, inputs: torch.Tensor) -> torch.Tensor:
        """The channels of `inputs` whose weights are trained."""
        return inputs if self.frozen is None else inputs.index_select(1, self.channels)

    @property
    def bias_scale(self) -> torch.Tensor:
        """What a bias, and a sum of products, is a multiple of, (o,)."""
        return self.weight_scale * self.given.scale

    def along(self, values: torch.Tensor, dim: int = 1) -> torch.Tensor:
        """`values` (o,) so that they multiply outputs, or in dimension 0 weights."""
        return values.view(-1, *[1] * (self.further + 1 - dim))

    @property
    @abstractmethod
    def further(self) -> int:
        """Dimensions of a weight, and of outputs, beyond the first two."""

    @abstractmethod
    def product(self, inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Of inputs (b, i, …) and weights (o, i, …): (b, o, …)."""

    @abstractmethod
    def errors_of_inputs(self, errors: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Of errors at the outputs, those at the inputs."""

    @abstractmethod
    def gradient(self, inputs: torch.Tensor, errors: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Of weights of `shape`, which multiplied `inputs`."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if inputs.is_meta:  # the layer table asks for shapes alone
            return inputs.new_empty((len(inputs), len(self.bias), *inputs.shape[2:]), dtype=self.bias.dtype)
        return Quantized.apply(inputs, self.weight, self.bias, self)

    def own_rows(self, name: str, block: str, positions: int) -> list[LayerRow]:
        """See `HasRows`. Bytes are those of the int8 graph; the scales, as statistics are, are not counted."""
        weights = sum(part.numel() for part in (self.weight, self.frozen) if part is not None)
        trained = [part for part in (self.weight, self.bias) if part is not None and part.requires_grad]
        outputs = len(self.bias)
        frozen_weights = weights - sum(part.numel() for part in trained if part.dim() > 1)
        frozen_biases = 0 if self.bias.requires_grad else outputs
        row = LayerRow(
            name,
            type(self).__name__,
            parameters=weights + outputs,
            outputs=outputs * self._places,
            bytes_per_element=NARROW if self.gives else WIDE,
            inputs=self._inputs * self._places,
            frozen=frozen_weights + frozen_biases,
            shapes=tuple(tuple(part.shape) for part in trained),
            operations=2 * weights * self._places,
            block=block,
            held_bytes=WIDE,
            error_bytes=WIDE,
            frozen_bytes=NARROW * frozen_weights + WIDE * frozen_biases,
        )
        return [row]


class Linear(QuantizedLayer):
    """(b, i) to (b, o)."""

    further = 0

    def __init__(self, inputs: int, outputs: int, given: Affine, gives: Affine | None, scaled: bool) -> None:
        super().__init__((outputs, inputs), given, gives, 1, scaled)

    def product(self, inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return inputs @ weights.t()

    def errors_of_inputs(self, errors: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return errors @ weights

    def gradient(self, inputs: torch.Tensor, errors: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        return errors.t() @ inputs


class Conv2d(QuantizedLayer):
    """(b, i, side, side) to (b, o, side, side), padded with zeros."""

    further = 2

    def __init__(
        self, inputs: int, outputs: int, kernel: int, side: int, given: Affine, gives: Affine | None, scaled: bool
    ) -> None:
        super().__init__((outputs, inputs, kernel, kernel), given, gives, side * side, scaled)
        self._padding = kernel // 2
        self._side = side

    def product(self, inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return F.conv2d(inputs, weights, padding=self._padding)

    def errors_of_inputs(self, errors: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        shape = (len(errors), weights.shape[1], self._side, self._side)
        return conv2d_input(shape, weights, errors, padding=self._padding)

    def gradient(self, inputs: torch.Tensor, errors: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        return conv2d_weight(inputs, shape, errors, padding=self._padding)


class Quantized(torch.autograd.Function):
    """A layer's outputs: whole numbers, or real ones where it gives these."""

    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor, layer: QuantizedLayer
    ) -> torch.Tensor:
        weights = layer.whole_numbers()
        sums = layer.product(inputs.float() - layer.given.zero, weights).add_(layer.along(bias.round()))
        kept = layer.of_trained(inputs).to(torch.int8) if ctx.needs_input_grad[1] else None
        ctx.layer = layer
        if layer.gives is None:
            ctx.save_for_backward(kept, None)
            return sums.mul_(layer.along(layer.bias_scale))
        outputs = sums.mul_(layer.along(layer.bias_scale / layer.gives.scale)).round_().add_(layer.gives.zero)
        ctx.save_for_backward(kept, (outputs >= LEAST) & (outputs <= MOST) if any(ctx.needs_input_grad) else None)
        return outputs.clamp_(LEAST, MOST)

    @staticmethod
    def backward(ctx: Any, *of_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        layer: QuantizedLayer = ctx.layer
        kept, unclipped = ctx.saved_tensors
        for_inputs, for_weight, for_bias, _ = ctx.needs_input_grad
        given = 1.0 if layer.gives is None else layer.gives.scale
        errors = of_outputs[0] * layer.along(layer.bias_scale / given)  # of sums
        if unclipped is not None:
            errors.mul_(unclipped)
        of_inputs = layer.errors_of_inputs(errors, layer.whole_numbers()) if for_inputs else None
        of_weight = of_bias = None
        if for_weight:
            assert layer.weight is not None
            of_weight = layer.gradient(kept.float() - layer.given.zero, errors, layer.weight.shape)
        if for_bias:
            of_bias = errors.transpose(0, 1).flatten(1).sum(1)
        if layer.scaled:
            if of_weight is not None:
                of_weight.div_(layer.along(layer.weight_scale**2, 0))
            if of_bias is not None:
                of_bias.div_(layer.bias_scale**2)
        return of_inputs, of_weight, of_bias, None


class Pool(MaxPool2x2):
    """Maximum over 2×2 windows of images of `side` × `side` whole numbers."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self._side = side

    def own_rows(self, name: str, block: str, positions: int) -> list[LayerRow]:
        """See `HasRows`. positions: rows of all channels."""
        inputs = positions * self._side
        return [LayerRow(name, "Pool", 0, inputs // 4, NARROW, inputs, block=block, error_bytes=WIDE)]


def as_int8(weights: torch.Tensor) -> torch.Tensor:
    return weights.round().clamp_(LEAST, MOST).to(torch.int8)
