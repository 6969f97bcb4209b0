"""PointNet as ElasticZO uses it: 818,088 parameters for 40 classes, no transform networks.

Each point goes through the same five fully connected layers, each followed by batch normalisation and ReLU; the
maximum over the points then describes the cloud, and three more fully connected layers, without normalisation,
classify it. The paper does not spell the network out: of the candidates only this one gives its share of
zeroth-order parameters and all of its memory percentages.

Shapes: b clouds, n points, c channels. Channels come last, so that a layer is one matrix product over all points of a
batch; on one core this is a quarter faster forward than convolutions of width 1.

Batch normalisation takes the statistics of the batch in every training pass, the two perturbed passes of a
zeroth-order step included: both see the same batch, so their difference is still that of one function of the weights.
Each training pass moves the running statistics by a tenth towards its batch, so a zeroth-order step moves them twice,
around the weights at rest; a model at rest is scored with them. They are part of the state dict and of no memory
convention. Scale and shift belong to the layer's weights and are trained as those of the first layers are.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn

from tightfit.models.base import Traits
from tightfit.numerics.seeds import derive

FEATURES = (3, 64, 64, 64, 128, 1024)  # channels of a point, layer by layer
HEAD = (1024, 512, 256)


class PointNorm(nn.BatchNorm1d):
    """Batch normalisation of (b, n, c) over all points of all clouds."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.flatten(0, 1)).view_as(input)


class MaxOverPoints(nn.Module):
    """(b, n, c) to (b, c).

    `amax` needs no positions and is several times faster forward, but the other one backward.
    """

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        keeps_for_backward = torch.is_grad_enabled() and points.requires_grad
        return points.max(dim=1).values if keeps_for_backward else points.amax(dim=1)


def norms_with_their_layer(model: nn.Module) -> dict[str, str]:
    """Each module is a block, but a norm belongs to the layer before it."""
    return {name: name.replace("norm", "feature") for name, _ in model.named_modules()}


def as_stored(points: torch.Tensor) -> torch.Tensor:
    """Coordinates are taken as they are."""
    return points


class PointNet(nn.Sequential):
    """Clouds (b, n, 3) to logits (b, classes)."""

    traits = Traits(
        blocks=norms_with_their_layer,
        input_encoding=lambda mean, std: as_stored,
        scoring_batch=32,  # the widest layer takes 4 MiB a cloud of 1,024 points
    )

    def __init__(self, classes: int = 40) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for place, (inputs, outputs) in enumerate(pairwise(FEATURES), start=1):
            layers[f"feature{place}"] = nn.Linear(inputs, outputs)
            layers[f"norm{place}"] = PointNorm(outputs)
            layers[f"relu{place}"] = nn.ReLU()
        layers["pool"] = MaxOverPoints()
        for place, (inputs, outputs) in enumerate(pairwise(HEAD), start=1):
            layers[f"fc{place}"] = nn.Linear(inputs, outputs)
            layers[f"fc_relu{place}"] = nn.ReLU()
        layers["fc3"] = nn.Linear(HEAD[-1], classes)
        super().__init__(layers)


def pointnet(classes: int, seed: int) -> PointNet:
    """A freshly initialised PointNet; the same weights for the same seed whatever ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "initial weights"))
        return PointNet(classes)
