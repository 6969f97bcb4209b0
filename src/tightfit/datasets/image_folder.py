"""A user's own images in folders: a folder for each class, within one for each split where there are splits."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tightfit.datasets.dataset import Dataset, check_count
from tightfit.datasets.labels import spelled, split_called
from tightfit.datasets.own import WHOLE, Part, digest_of, own_dataset
from tightfit.records.cosmetic import cosmetic

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
MODES = {1: "L", 3: "RGB"}  # Pillow's, by channels


@cosmetic("title")
def image_folder(
    name: str,
    folder: str,
    title: str = "",
    size: int = 28,
    channels: int = 1,
    missing: str | None = None,
    scored: str = "test",
    held_out: int = 0,
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> Dataset:
    """The images in `folder`, as folder/train/CLASS/… and folder/test/CLASS/… (and validation), or folder/CLASS/….

    size: of the square that each is scaled to. channels: 1 for grey, 3 for colour. missing: "drop" leaves out files
    that are no whole image, None refuses them. `own_dataset` says what the rest is.
    Raises ValueError for folders without images of two classes.
    """
    check_count("size", size)
    if channels not in MODES:
        raise ValueError(f"dataset.channels={channels} is no kind of image; choose 1 for grey or 3 for colour")
    if missing not in (None, "refuse", "drop"):
        raise ValueError(f"dataset.missing={missing!r} is nothing to do with damaged images; choose refuse or drop")
    parts: dict[str, Part] = {}
    damaged: list[str] = []
    for split, place in places(Path(folder)).items():
        images = read_images(place, size, MODES[channels])
        damaged += [problem for _, _, problem in images if problem]
        whole = [(label, image) for label, image, problem in images if not problem]
        if whole:
            parts[split] = Part(torch.stack([image for _, image in whole]), [label for label, _ in whole])
    if damaged and missing != "drop":
        raise ValueError(
            f"{damaged[0]}, as {len(damaged)} of the images; mend them, or leave them out by dataset.missing=drop"
        )
    if not parts:
        raise ValueError(f"{folder} has no images; put them into a folder for each class, as {folder}/cats/1.png")
    details = {"size": size, "channels": channels, **({"images_dropped": len(damaged)} if missing == "drop" else {})}
    checksums = {"images and labels": digest_of(parts)}
    route = f"files in {folder}"
    return own_dataset(name, parts, scored, held_out, train_limit, test_limit, route, checksums, details)


def places(folder: Path) -> dict[str, Path]:
    """The folders with a folder for each class, by split; WHOLE is all that has no splits."""
    if not folder.is_dir():
        raise ValueError(f"dataset.folder={folder} is no folder; name the one that holds your images")
    inner = {path: split_called(path.name) for path in subfolders(folder)}
    splits = {split: path for path, split in inner.items() if split}
    if not splits:
        return {WHOLE: folder}
    others = [path.name for path, split in inner.items() if not split]
    if others or len(splits) < len(inner):
        odd = others[0] if others else "one split twice"
        raise ValueError(f"{folder} has splits ({', '.join(splits)}) and {odd}; keep splits or classes in it")
    return splits


def subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def read_images(folder: Path, size: int, mode: str) -> list[tuple[str, torch.Tensor, str]]:
    """Label, image (c, h, w) uint8, and what is wrong with it, if anything, of all images in the folders of classes."""
    found, not_read = [], (OSError, ValueError, SyntaxError, pillow("Image").DecompressionBombError)
    for of_class in subfolders(folder):
        paths = list(images_in(of_class))
        if not paths:
            raise ValueError(f"{of_class} has no images ({', '.join(SUFFIXES)}); add some, or remove the folder")
        for path in paths:
            try:
                found.append((spelled(of_class.name), read_image(path, size, mode), ""))
            except not_read as error:
                problem = f"{path} is no image that can be read ({type(error).__name__})"
                found.append((spelled(of_class.name), torch.empty(0), problem))
    return found


def images_in(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith("."):
            yield path


def read_image(path: Path, size: int, mode: str) -> torch.Tensor:
    """(c, h, w) uint8, upright, as cameras note it."""
    library = pillow("Image")
    with library.open(path) as image:
        upright = pillow("ImageOps").exif_transpose(image).convert(mode)
    scaled = upright.resize((size, size), library.Resampling.BILINEAR)
    return torch.frombuffer(bytearray(scaled.tobytes()), dtype=torch.uint8).view(size, size, -1).permute(2, 0, 1)


def pillow(module: str) -> Any:
    """A module of Pillow; raises ValueError, saying how to get it, where it is not installed."""
    try:
        return importlib.import_module(f"PIL.{module}")
    except ImportError as error:
        raise ValueError(
            f"dataset=image_folder needs pillow ({error}); install it with pip install 'tightfit[images]'"
        ) from None
