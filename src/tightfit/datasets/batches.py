"""Batches of a data set as a pure function of (seed, step): a resumed run sees what the uninterrupted one saw."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from tightfit.datasets.dataset import Dataset
from tightfit.models.base import Encoding, traits_of
from tightfit.numerics.seeds import generator


@dataclass(frozen=True)
class Normalization:
    """From stored inputs, which stay as they are, to what a model sees: x / 255, minus the mean, over the standard
    deviation."""

    mean: float
    std: float

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.to(torch.float32, copy=True).mul_(1 / (255 * self.std)).sub_(self.mean / self.std)


def encoding_for(model: nn.Module, dataset: Dataset) -> Encoding:
    """How `model` wants inputs: by the encoding it states, else as normalized floats."""
    return (traits_of(model).input_encoding or Normalization)(dataset.mean, dataset.std)


class Batches:
    """Shuffled batches of the training examples, each epoch in a new order; a last partial batch is left out.

    Raises ValueError when `batch_size` is not between 1 and the number of examples.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        encode: Encoding | None = None,
    ) -> None:
        count = len(dataset.train.labels)
        if not 1 <= batch_size <= count:
            raise ValueError(
                f"batch_size={batch_size} but {dataset.name} has {count} training examples; choose 1–{count}"
            )
        self.batch_size = batch_size
        self.steps_per_epoch = count // batch_size
        self.examples = dataset.train.to(device)
        self._encode = encode or Normalization(dataset.mean, dataset.std)
        self._seed = seed
        self._order_of_epoch: tuple[int, torch.Tensor] = (-1, torch.empty(0))

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs (b, …) as encoded and labels (b,) int64 of step `step`, counted from 0."""
        return self.taken(self.chosen(step))

    def taken(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs, as encoded, and labels of the `chosen` training examples."""
        return self._encode(self.examples.inputs[chosen]), self.examples.labels[chosen]

    def chosen(self, step: int) -> torch.Tensor:
        """Which training examples step `step` takes, (b,) int64."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return self.order(epoch)[position * self.batch_size : (position + 1) * self.batch_size]

    def order(self, epoch: int) -> torch.Tensor:
        """The training examples as `epoch` shuffles them, (n,) int64."""
        if self._order_of_epoch[0] != epoch:
            labels = self.examples.labels
            order = torch.randperm(len(labels), generator=generator(self._seed, "shuffle", epoch)).to(labels.device)
            self._order_of_epoch = (epoch, order)
        return self._order_of_epoch[1]
