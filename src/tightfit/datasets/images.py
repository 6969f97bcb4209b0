"""Labelled images in idx files, as MNIST and Fashion-MNIST come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from tightfit.datasets import idx
from tightfit.datasets.dataset import Dataset, Examples, check_count, check_limits
from tightfit.datasets.routes import Files

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
NAMES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


def read_examples(files: Files, images: str, labels: str) -> Examples:
    """inputs: (n, 1, h, w) uint8; labels: (n,) int64."""
    pixels = torch.from_numpy(idx.decode(files[images]).copy()).unsqueeze(1)
    return Examples(pixels, torch.from_numpy(idx.decode(files[labels]).astype(np.int64)))


def image_dataset(
    name: str, files: Files, route: str, checksums: Mapping[str, str], mean: float, std: float
) -> Dataset:
    """Ten classes, 60,000 images to train on and 10,000 to test on."""
    return Dataset(
        name=name,
        classes=10,
        train=read_examples(files, TRAIN_IMAGES, TRAIN_LABELS),
        test=read_examples(files, TEST_IMAGES, TEST_LABELS),
        scored="test",
        mean=mean,
        std=std,
        route=route,
        checksums=dict(checksums),
    )


def select(dataset: Dataset, held_out: int, train_limit: int | None, test_limit: int | None) -> Dataset:
    """`dataset` cut to what a run asks for.

    held_out: the last so many training examples are not trained on and are scored instead of the test examples.
    train_limit, test_limit: keep only the first so many.
    Raises ValueError when nothing would be left to train on or to score.
    """
    check_limits(train_limit=train_limit, test_limit=test_limit)
    check_count("held_out", held_out, least=0)
    train, scored = dataset.train, dataset.test
    if held_out >= len(train):
        raise ValueError(f"held_out={held_out} but {dataset.name} has {len(train)} training examples; choose fewer")
    if held_out:
        train, scored = train[:-held_out], train[-held_out:]
    split = "validation" if held_out else "test"
    return replace(dataset, train=train[:train_limit], test=scored[:test_limit], scored=split)
