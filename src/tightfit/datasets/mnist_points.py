"""MNIST as point sets: each inked pixel is a point. Where ModelNet40 cannot be had, this trains PointNet on real data.

PointNet's and PointNet++'s authors report on point sets of MNIST too; how they draw the points differs from here,
where nothing is drawn: the sets are the same on every machine.

Shapes: m images, n points.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from tightfit.datasets.dataset import Dataset, Examples, check_count
from tightfit.datasets.images import select
from tightfit.datasets.mnist import mnist
from tightfit.records.cosmetic import cosmetic

BLACK = 255


@cosmetic("title", "folder", "cache")  # checksums on record, not the place, tell what the data was
def mnist_points(
    name: str = "mnist_points",
    title: str = "MNIST points",
    points: int = 256,
    threshold: int = 127,
    folder: str | None = None,
    cache: str | None = None,
    held_out: int = 0,
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> Dataset:
    """MNIST with each image as `points` of its pixels brighter than `threshold`; see `mnist` for the rest.

    Raises ValueError for less than one point, or a threshold that leaves an image without any.
    """
    check_count("points", points)
    chosen = select(mnist(name="mnist", folder=folder, cache=cache), held_out, train_limit, test_limit)
    return replace(
        chosen,
        name=name,
        train=point_sets(chosen.train, points, threshold),
        test=point_sets(chosen.test, points, threshold),
        mean=0.0,  # coordinates are taken as they are
        std=1.0,
        details={"points": points, "threshold": threshold, "coordinates": "x right, y up, brightness"},
    )


def point_sets(images: Examples, points: int, threshold: int) -> Examples:
    """inputs: (m, points, 3), x and y in [−1, 1], brightness in (0, 1].

    Of an image's inked pixels in reading order every k-th is taken, k such that `points` are; where there are fewer,
    all are, some of them several times.
    """
    pixels = images.inputs.flatten(1)  # (m, h · w)
    image_of, place = (pixels > threshold).nonzero(as_tuple=True)
    counts = image_of.bincount(minlength=len(pixels))  # (m,)
    if not counts.all():
        empty = int((counts == 0).nonzero()[0])
        raise ValueError(f"threshold={threshold} leaves image {empty} without a point; choose a lower one, such as 127")
    first = counts.cumsum(0) - counts
    taken = torch.arange(points) * counts.unsqueeze(1) // points  # (m, n), among the image's own
    place = place[first.unsqueeze(1) + taken]  # (m, n), among the pixels
    height, width = images.inputs.shape[-2:]
    row, column = place // width, place % width
    brightness = pixels.gather(1, place).to(torch.float32) / BLACK
    sets = torch.stack([2 * column / (width - 1) - 1, 1 - 2 * row / (height - 1), brightness], dim=2)
    return Examples(sets, images.labels)
