"""Rotated MNIST and Fashion-MNIST: a small fixed draw of images, all turned by one fixed angle.

The target of ElasticZO's Table 2: 1,024 images to train on and 1,024 to test on. The paper gives the two counts by
its results (all are multiples of 1/1024) and does not state the angles; 30° and 45° are those of the work it cites.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch.nn import functional as F

from tightfit.datasets.dataset import Dataset, Examples, check_count, check_limits, check_seed
from tightfit.datasets.fashion_mnist import fashion_mnist
from tightfit.datasets.mnist import mnist
from tightfit.numerics.seeds import generator
from tightfit.records.cosmetic import cosmetic

UPRIGHT = {"mnist": mnist, "fashion_mnist": fashion_mnist}
INTERPOLATION = "bilinear, zero fill"


@cosmetic("title", "folder", "cache")  # checksums on record, not the place, tell what the data was
def rotated(
    name: str,
    upright: str,
    angle: float,
    title: str = "",
    train_size: int = 1024,
    test_size: int = 1024,
    subset_seed: int = 0,
    folder: str | None = None,
    cache: str | None = None,
    held_out: int = 0,
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> Dataset:
    """`train_size` training and `test_size` test images of `upright`, turned by `angle` degrees counter-clockwise.

    held_out: score so many training images that are not trained on, instead of test images.
    subset_seed: which images are drawn. train_limit, test_limit: keep only the first so many of them.
    Raises ValueError for an unknown `upright`, more images than it has, or an angle that is no number.
    """
    check_rotation(upright, angle)
    check_limits(train_size=train_size, test_size=test_size, train_limit=train_limit, test_limit=test_limit)
    check_count("held_out", held_out, least=0)
    check_seed("subset_seed", subset_seed)
    whole = UPRIGHT[upright](folder=folder, cache=cache)
    train = draw(whole.train, train_size + held_out, subset_seed, "train")
    scored = train[train_size:] if held_out else draw(whole.test, test_size, subset_seed, "test")
    train, scored = turned(train[:train_size][:train_limit], angle), turned(scored[:test_limit], angle)
    return Dataset(
        name=name,
        classes=whole.classes,
        train=train,
        test=scored,
        scored="validation" if held_out else "test",
        mean=whole.mean,
        std=whole.std,
        route=whole.route,
        checksums={**whole.checksums, "rotated train": digest(train), "rotated scored": digest(scored)},
        details={"upright": upright, "angle": angle, "interpolation": INTERPOLATION, "subset_seed": subset_seed},
    )


def check_rotation(upright: str, angle: float) -> None:
    if upright not in UPRIGHT:
        raise ValueError(f"upright={upright!r} is not a set that can be rotated; choose {' or '.join(UPRIGHT)}")
    if not isinstance(angle, float | int) or not math.isfinite(angle):
        raise ValueError(f"angle={angle} is not a number of degrees; choose one such as 30")


def draw(examples: Examples, count: int, seed: int, split: str) -> Examples:
    """`count` examples without replacement, the same for the same seed."""
    if count > len(examples):
        raise ValueError(f"{count} images asked of the {split} split, which has {len(examples)}; choose fewer")
    return examples[torch.randperm(len(examples), generator=generator(seed, "subset", split))[:count]]


def turned(examples: Examples, angle: float) -> Examples:
    return Examples(rotate(examples.inputs, angle), examples.labels)


def rotate(images: torch.Tensor, angle: float) -> torch.Tensor:
    """Images (n, c, h, w) uint8 turned by `angle` degrees counter-clockwise about their centre; bilinear, zero fill."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    # where each pixel of the result is taken from, in coordinates with y downwards
    source = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]], dtype=torch.float64)
    grid = F.affine_grid(source.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    values = F.grid_sample(images.double(), grid, align_corners=False)
    # Dozens of pixels lie half-way between two bytes, give or take an error that depends on the processor. A nudge far
    # above that error sends them all up, so that the bytes and their sha256 are the same everywhere.
    return (values + 0.5 + 2**-20).floor().clamp(0, 255).to(torch.uint8)


def digest(examples: Examples) -> str:
    return hashlib.sha256(examples.inputs.numpy().tobytes() + examples.labels.numpy().tobytes()).hexdigest()
