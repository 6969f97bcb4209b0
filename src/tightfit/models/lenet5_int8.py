"""LeNet-5 in int8: 107,550 weights, no bias (ElasticZO-INT8). Pixels enter as integers."""

from __future__ import annotations

from collections import OrderedDict

import torch

from tightfit.models.base import Traits
from tightfit.models.int8_layers import Conv2d, Flatten, Int8Sequential, Linear, MaxPool2x2, ReLU
from tightfit.numerics.int8.arithmetic import LARGEST
from tightfit.numerics.int8.matmul import Backend
from tightfit.numerics.seeds import derive
from tightfit.records.cosmetic import cosmetic

# NITI takes the exponent from the largest input of each batch. Standardized pixels of MNIST and Fashion-MNIST reach
# 2.8 and 2.0, so it would be this one in practice for every batch.
INPUT_EXPONENT = -5


class StandardizedPixels:
    """From uint8 pixels to int8 standardized ones in units of 2**INPUT_EXPONENT, by a table of 256 integers."""

    def __init__(self, mean: float, std: float) -> None:
        steps = [round((pixel / 255 - mean) / std * 2**-INPUT_EXPONENT) for pixel in range(256)]
        self._table = torch.tensor([max(-LARGEST, min(LARGEST, step)) for step in steps], dtype=torch.int8)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        chosen = pixels.flatten().to(torch.int32)
        return self._table.to(pixels.device).index_select(0, chosen).view(pixels.shape)


class LeNet5Int8(Int8Sequential):
    """Standardized pixels (b, 1, 28, 28) int8 to logits (b, classes)."""

    traits = Traits(input_dtype=torch.int8, input_encoding=StandardizedPixels)
    input_exponent = INPUT_EXPONENT

    def __init__(self, classes: int = 10, backend: Backend = "auto") -> None:
        super().__init__(
            OrderedDict(
                conv1=Conv2d(1, 6, 5, backend),
                relu1=ReLU(),
                pool1=MaxPool2x2(),
                conv2=Conv2d(6, 16, 5, backend),
                relu2=ReLU(),
                pool2=MaxPool2x2(),
                flatten=Flatten(),
                fc1=Linear(16 * 7 * 7, 120, backend),
                relu3=ReLU(),
                fc2=Linear(120, 84, backend),
                relu4=ReLU(),
                fc3=Linear(84, classes, backend),
            )
        )


@cosmetic("backend")  # all of them compute the same bits
def lenet5_int8(classes: int, seed: int, backend: Backend = "auto") -> LeNet5Int8:
    """A freshly initialised network; the same weights for the same seed whatever ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "initial weights"))
        return LeNet5Int8(classes, backend)
