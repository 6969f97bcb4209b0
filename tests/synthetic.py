"""Data sets made on the spot: images of a bar whose height tells the class, boxes whose proportions tell it."""

import torch

from tightfit.datasets.dataset import Dataset, Examples


def bars(
    name: str = "bars", count: int = 96, train_limit: int | None = None, test_limit: int | None = None, **_: object
) -> Dataset:
    """`count` images (n, 1, 28, 28) uint8 of ten classes; training and test examples are the same."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 10
    inputs = torch.randint(0, 80, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
    for image, label in zip(inputs, labels, strict=True):
        image[0, 2 * label : 2 * label + 4] = 255
    train = Examples(inputs[:train_limit], labels[:train_limit])
    test = Examples(inputs[:test_limit], labels[:test_limit])
    return Dataset(name, 10, train, test, "test", 0.3, 0.3, "made", {"inputs": "none"}, {})


def boxes(name: str = "boxes", count: int = 48, points: int = 24) -> Dataset:
    """`count` clouds (n, points, 3) of three classes: each is long in a direction of its own."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    inputs = torch.rand(count, points, 3, generator=generator) - 0.5
    inputs[torch.arange(count), :, labels] *= 4
    examples = Examples(inputs, labels)
    return Dataset(name, 3, examples, examples, "test", 0.0, 1.0, "made", {"inputs": "none"}, {})
