"""LeNet-5 as ElasticZO uses it: 107,786 parameters.

Both convolutions are padded, which the textbook network (61,706 parameters) is not; only this one
reproduces the paper's memory figures and shares of zeroth-order parameters.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from tightfit.models.pooling import MaxPool2x2
from tightfit.numerics.seeds import derive


class LeNet5(nn.Sequential):
    """Images (b, 1, 28, 28) to logits (b, classes)."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(1, 6, 5, padding=2),
                relu1=nn.ReLU(),
                pool1=MaxPool2x2(),
                conv2=nn.Conv2d(6, 16, 5, padding=2),
                relu2=nn.ReLU(),
                pool2=MaxPool2x2(),
                flatten=nn.Flatten(),
                fc1=nn.Linear(16 * 7 * 7, 120),
                relu3=nn.ReLU(),
                fc2=nn.Linear(120, 84),
                relu4=nn.ReLU(),
                fc3=nn.Linear(84, classes),
            )
        )


def lenet5(classes: int, seed: int) -> LeNet5:
    """A freshly initialised LeNet-5; the same weights for the same seed whatever ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "initial weights"))
        return LeNet5(classes)
