"""Fashion-MNIST (Xiao et al., 2017): 70,000 pictures of clothes, 28×28, in MNIST's form. MIT licence."""

from __future__ import annotations

from pathlib import Path

from tightfit.datasets.archives import unpacked
from tightfit.datasets.dataset import Dataset
from tightfit.datasets.images import NAMES, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, image_dataset, select
from tightfit.datasets.routes import Files, Route, from_debian, from_urls, obtain
from tightfit.records.cosmetic import cosmetic

CHECKSUMS = {
    TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
MEAN, STD = 0.2860, 0.3530
DEBIAN_FOLDER = "usr/share/datasets/fashion-mnist"


@cosmetic("title", "folder", "cache")  # checksums on record, not the place, tell what the data was
def fashion_mnist(
    name: str = "fashion_mnist",
    title: str = "F-MNIST",
    folder: str | None = None,
    cache: str | None = None,
    held_out: int = 0,
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> Dataset:
    """Fashion-MNIST; see `obtain` for folder and cache, `select` for the rest. `title` is for tables."""
    files, route = obtain(name, CHECKSUMS, ROUTES, folder, cache)
    whole = image_dataset(name, files, route, CHECKSUMS, MEAN, STD)
    return select(whole, held_out, train_limit, test_limit)


def from_package() -> Files:
    """From Debian's package: where it is installed, or else out of its archive."""
    members = [f"{DEBIAN_FOLDER}/{name}.gz" for name in NAMES]
    installed = [Path("/") / member for member in members]
    if all(path.exists() for path in installed):
        packed = [path.read_bytes() for path in installed]
    else:
        packed = from_debian("dataset-fashion-mnist", members)
    return {name: unpacked(content, name) for name, content in zip(NAMES, packed, strict=True)}


def mirror(base: str) -> Route:
    return Route(base, lambda: from_urls(base, NAMES))


ROUTES = (
    Route("Debian dataset-fashion-mnist", from_package),
    mirror("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"),
    mirror("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
)
