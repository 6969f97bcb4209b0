"""LeNet-5 as an int8 graph that is trained in place (256 KB training): 107,786 numbers. Pixels enter as integers.

From scratch nothing can be calibrated, so ranges are fixed: activations from 0 to 16, which He's weights and
standardized pixels leave room in.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from tightfit.models.base import Traits
from tightfit.models.qas_layers import LEAST, Affine, Conv2d, Linear, Pool
from tightfit.numerics.seeds import derive

# A pixel p enters as p − 128 and stands for (p − 32) / 64: on MNIST nearly what standardized pixels are.
PIXELS = Affine(scale=2**-6, zero=32 + LEAST)
HIDDEN = Affine(scale=16 / 255, zero=LEAST)  # the least whole number stands for 0, so that clipping is a ReLU
CENTRE = 128


def centred(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 to int8."""
    return pixels.bitwise_xor(CENTRE).view(torch.int8)


class LeNet5QAS(nn.Sequential):
    """Pixels less 128 (b, 1, 28, 28) int8 to logits (b, classes). scaled: whether gradients are (see `qas_layers`)."""

    traits = Traits(input_dtype=torch.int8, input_encoding=lambda mean, std: centred, rounded_to=1.0)

    def __init__(self, classes: int = 10, scaled: bool = True) -> None:
        super().__init__(
            OrderedDict(
                conv1=Conv2d(1, 6, 5, 28, PIXELS, HIDDEN, scaled),
                pool1=Pool(28),
                conv2=Conv2d(6, 16, 5, 14, HIDDEN, HIDDEN, scaled),
                pool2=Pool(14),
                flatten=nn.Flatten(),
                fc1=Linear(16 * 7 * 7, 120, HIDDEN, HIDDEN, scaled),
                fc2=Linear(120, 84, HIDDEN, HIDDEN, scaled),
                fc3=Linear(84, classes, HIDDEN, None, scaled),
            )
        )


def lenet5_qas(classes: int, seed: int, scaled: bool = True) -> LeNet5QAS:
    """A freshly initialised network; the same weights for the same seed whatever ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "initial weights"))
        return LeNet5QAS(classes, scaled)
