"""A data set made on the spot: images of a bar whose height tells the class."""

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
