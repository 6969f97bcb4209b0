"""Layers on int8 numbers: forward, and the backward of NITI written out, for autograd knows no integers.

`backward` is given what went into the layer and the int8 error at its output, and returns the error at its input.
The exponents of errors are not followed: an update keeps of a gradient only its sign and relative size.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import nn

from tightfit.models.base import Traits
from tightfit.numerics.int8.arithmetic import LARGEST, Accumulator, Number, requantize
from tightfit.numerics.int8.matmul import (
    Backend,
    check_backend,
    chosen,
    convolution_input_error,
    convolution_weight_gradient,
    convolve,
    matmul,
)
from tightfit.numerics.maxima import max_of_slices

ACCUMULATOR_BYTES = 4  # int32


class ReLU(nn.Module):
    def forward(self, number: Number | Accumulator) -> Number | Accumulator:
        return number.relu()

    def backward(self, values: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        return error * (values > 0)


class MaxPool2x2(nn.Module):
    """Maximum over 2×2 windows with stride 2; of equal maxima the first receives the error."""

    def forward(self, number: Number | Accumulator) -> Number:
        return number.pooled()

    def backward(self, values: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        maxima, spread = max_of_slices(values), torch.zeros_like(values)
        height, width = 2 * maxima.shape[-2], 2 * maxima.shape[-1]
        open_windows = torch.ones_like(maxima, dtype=torch.bool)
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            here = (values[..., row:height:2, column:width:2] == maxima) & open_windows
            spread[..., row:height:2, column:width:2] = error * here
            open_windows &= ~here
        return spread


class Flatten(nn.Module):
    def forward(self, number: Number | Accumulator) -> Number:
        values, exponent = number.rounded()
        return Number(values.flatten(1), exponent)

    def backward(self, values: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        return error.view(values.shape)


class WeightLayer(nn.Module, ABC):
    """A layer with int8 weights whose exponent stays what it was when they were drawn; no bias.

    Weights are drawn Xavier-uniform and scaled to ±127; as in NITI the exponent is rounded up, so the stored
    numbers are up to twice those drawn.
    """

    accumulator_bytes = ACCUMULATOR_BYTES

    def __init__(self, shape: tuple[int, ...], backend: Backend) -> None:
        super().__init__()
        check_backend(backend)
        drawn = nn.init.xavier_uniform_(torch.empty(shape))
        largest = drawn.abs().max().item()
        self.weight = nn.Parameter((drawn / largest * LARGEST).round().to(torch.int8), requires_grad=False)
        self.exponent: torch.Tensor
        self.register_buffer("exponent", torch.tensor(math.ceil(math.log2(largest)) - 7, dtype=torch.int32))
        self.backend: Backend = backend

    def forward(self, number: Number | Accumulator) -> Number | Accumulator:
        values, exponent = number.rounded()
        accumulator = requantize(self.accumulate(values), exponent + self.exponent)
        if not values.is_meta:
            return accumulator
        values, exponent = accumulator.rounded()  # the layer table counts the int8 numbers of every layer,
        return Number(values.contiguous(), exponent)  # in the plain order, where flattening is a view

    @abstractmethod
    def accumulate(self, values: torch.Tensor) -> torch.Tensor:
        """int32 outputs."""

    @abstractmethod
    def weight_gradient(self, values: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        """int32, of the shape of the weights, summed over the batch."""

    @abstractmethod
    def input_error(self, error: torch.Tensor) -> torch.Tensor:
        """int32, of the shape of the input."""

    def backward(self, values: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        return requantize(self.input_error(error), self.exponent).rounded().values


class Linear(WeightLayer):
    """(b, inputs) to (b, outputs)."""

    def __init__(self, inputs: int, outputs: int, backend: Backend = "auto") -> None:
        super().__init__((outputs, inputs), backend)

    def accumulate(self, values: torch.Tensor) -> torch.Tensor:
        return matmul(values, self.weight.t(), self.backend)

    def weight_gradient(self, values: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        return matmul(error.t(), values, self.backend)

    def input_error(self, error: torch.Tensor) -> torch.Tensor:
        return matmul(error, self.weight, self.backend)


class Conv2d(WeightLayer):
    """(b, inputs, h, w) to (b, outputs, h, w), padded with zeros."""

    def __init__(self, inputs: int, outputs: int, kernel: int, backend: Backend = "auto") -> None:
        super().__init__((outputs, inputs, kernel, kernel), backend)

    def accumulate(self, values: torch.Tensor) -> torch.Tensor:
        return convolve(values, self.weight, self.backend)

    def weight_gradient(self, values: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        return convolution_weight_gradient(values, error, self.weight.shape[-1], self.backend)

    def input_error(self, error: torch.Tensor) -> torch.Tensor:
        return convolution_input_error(error, self.weight, self.backend)


class Int8Sequential(nn.Sequential):
    """Layers one after another, from int8 inputs to an int8 number.

    input_exponent: the exponent of the inputs, the same for all.
    """

    traits = Traits(input_dtype=torch.int8)
    input_exponent = 0

    def backend_on(self, device: torch.device) -> Backend:
        """What multiplies the integers on `device`; the first layer's, for a model has one for all."""
        return chosen(next(layer.backend for layer in self if isinstance(layer, WeightLayer)), device)

    def forward(self, input: torch.Tensor, kept: list[torch.Tensor] | None = None, keep_from: int = 0) -> Number:
        """The outputs; what goes into each layer from the `keep_from`th on is appended to `kept`."""
        exponent = torch.full((), self.input_exponent, dtype=torch.int32, device=input.device)
        number: Number | Accumulator = Number(input, exponent)
        for index, layer in enumerate(self):
            if kept is not None and index >= keep_from:
                number = number.rounded()
                kept.append(number.values)
            number = layer(number)
        return number.rounded()
