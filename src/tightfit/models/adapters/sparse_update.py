"""Sparse update (Lin et al., 2022, arXiv 2206.15472): some biases and some input channels of quantized layers are
trained.

Nothing before the first trained number has a backward pass, a bias needs no inputs to be kept, and weights of some
channels only these channels of them. Of a layer, the channels with the largest weights are chosen, as they are now:
those of a model that was trained before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from tightfit.models.base import blocks_of_modules, freeze_but_
from tightfit.models.qas_layers import QuantizedLayer


@dataclass(frozen=True)
class SparseUpdate:
    """biases: of how many of the last layers they are trained. weights: the share of input channels whose weights are,
    at least one, by the name of the layer; 1 is all of them, 0 none, as for layers that are not named."""

    biases: int
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.biases, bool) or not isinstance(self.biases, int) or self.biases < 0:
            raise ValueError(f"adapter.biases={self.biases} counts no layers; choose 0 or more")
        for name, share in self.shares.items():
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
                raise ValueError(f"adapter.weights.{name}={share} is no share of channels; choose from 0 to 1")
        if not self.biases and not any(self.shares.values()):
            raise ValueError("adapter=sparse_update trains nothing; choose adapter.biases=1 or adapter.weights={…}")

    @property
    def shares(self) -> Mapping[str, float]:
        return self.weights or {}

    def inject(self, model: nn.Module, seed: int) -> list[str]:
        """See `Adapter`. Nothing is put in, and nothing is drawn."""
        blocks, layers = blocks_of_modules(model), quantized_layers(model)
        if self.biases > len(layers):
            raise ValueError(
                f"adapter.biases={self.biases} but {type(model).__name__} has {len(layers)} quantized layers; choose "
                f"0–{len(layers)}"
            )
        for name in self.shares:
            if name not in layers:
                raise ValueError(f"adapter.weights.{name} is no quantized layer; choose from {', '.join(layers)}")
        with_biases = list(layers)[len(layers) - self.biases :]
        trained = {f"{name}.bias" for name in with_biases}
        for name, layer in layers.items():
            share = self.shares.get(name, 0)
            layer.train_channels_(largest_channels(layer, share))
            trained |= {f"{name}.weight"} if share else set()
        in_order = [name for name, _ in model.named_parameters() if name in trained]
        freeze_but_(model, in_order, blocks)
        return in_order


def quantized_layers(model: nn.Module) -> dict[str, QuantizedLayer]:
    """By name, in order. Raises ValueError for a model that has none."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, QuantizedLayer)}
    if not layers:
        raise ValueError(
            f"adapter=sparse_update trains channels of quantized layers, and {type(model).__name__} has none; choose "
            "model=lenet5_qas, or adapter=blocks"
        )
    return layers


def channels_of(share: float, inputs: int) -> int:
    """How many of so many channels are a `share` of them."""
    return max(1, round(share * inputs)) if share else 0


def largest_channels(layer: QuantizedLayer, share: float) -> torch.Tensor:
    """The input channels of `layer` whose weights have the largest norms, as real numbers, in order (c,) int64."""
    weights = layer.whole_numbers() * layer.along(layer.weight_scale, 0)
    norms = weights.transpose(0, 1).flatten(1).norm(dim=1)  # (i,)
    order = norms.argsort(descending=True, stable=True)
    return order[: channels_of(share, len(norms))].sort().values
