"""ModelNet40 (Wu et al., 2015): CAD models of 40 kinds of things as point clouds. For academic research only.

It comes in two forms with other samples of the same surfaces, so that results on them are comparable and not equal:

- h5, `modelnet40_ply_hdf5_2048`: 2,048 points a cloud, y upwards, 9,840 to train on and 2,468 to test on. The form
  most papers use; reading it takes `pip install tightfit[h5]`.
- npz, `modelnet40_1024.npz`: 1,024 points a cloud, z upwards, 9,843 and 2,468, in steps of 1/4095.

Shapes: m clouds, n points.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tightfit.datasets.archives import read_member
from tightfit.datasets.dataset import Dataset, DataUnavailable, Examples, check_count
from tightfit.datasets.images import select
from tightfit.datasets.routes import Files, Route, cache_folder, download, obtain, sha256_of
from tightfit.numerics.seeds import generator
from tightfit.records.cosmetic import cosmetic

CLASSES = 40
NPZ = "modelnet40_1024.npz"
NPZ_STEPS = 4095  # of a coordinate, in the npz
NPZ_DIGESTS = {
    "train": "4d7c5842ce622ae143752cbdd88d203389472d84158d7a7aecfd2c3b3cef3654",
    "test": "a3c7bd819bd41c01b69fff560441fc3362031d46d0ec3968968145fccfecfd84",
}
ARCHIVE = "modelnet40_ply_hdf5_2048.zip"
ARCHIVE_SHA256 = "07670e237db72ece0f723b9abb571534c9ad655a6456b389646587dc72bb8bae"
H5_PARTS = {
    "train": tuple(f"ply_data_train{part}.h5" for part in range(5)),
    "test": tuple(f"ply_data_test{part}.h5" for part in range(2)),
}
ALL_PARTS = (*H5_PARTS["train"], *H5_PARTS["test"])
ADDRESSES = (
    "https://shapenet.cs.stanford.edu/media/",
    "https://github.com/ma-xu/pointMLP-pytorch/releases/download/Modenet40_dataset/",
)


@dataclass(frozen=True)
class Clouds:
    """points: (m, n, 3) float32 in the unit sphere; labels: (m,)."""

    points: np.ndarray
    labels: np.ndarray


Splits = dict[str, Clouds]


@cosmetic("title", "folder", "cache")  # checksums on record, not the place, tell what the data was
def modelnet40(
    name: str = "modelnet40",
    title: str = "ModelNet40",
    folder: str | None = None,
    cache: str | None = None,
    points: int = 1024,
    held_out: int = 0,
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> Dataset:
    """ModelNet40, the first `points` points of each cloud; training clouds in an order of their own, the same always.

    folder: holds the npz, the h5 files or their zip; then nothing else is tried. None: the cache, which may hold any
        of them too, then the address of the zip. `select` says what the rest is; `title` is for tables.
    Raises ValueError when `folder` holds none of them or a damaged one, or a cloud has fewer points;
    DataUnavailable when nothing is cached and no address answers.
    """
    check_count("points", points)
    if folder is not None:
        form, splits = read_folder(Path(folder))
        route = f"folder {folder}"
    else:
        form, splits, route = from_cache_or_address(name, cache)
    available = splits["train"].points.shape[1]
    if points > available:
        raise ValueError(f"points={points} but clouds of the {form} form have {available}; choose 1–{available}")
    whole = Dataset(
        name=name,
        classes=CLASSES,
        train=shuffled(splits["train"], points, "train"),
        test=shuffled(splits["test"], points, "test"),
        scored="test",
        mean=0.0,  # coordinates are in the unit sphere as they are
        std=1.0,
        route=route,
        checksums={split: digest(clouds) for split, clouds in splits.items()},
        details={"form": form, "points": points, "up": "z" if form == "npz" else "y"},
    )
    return select(whole, held_out, train_limit, test_limit)


def shuffled(clouds: Clouds, points: int, split: str) -> Examples:
    """inputs: (m, points, 3). The npz is sorted by class, so a part of it would lack most classes."""
    order = torch.randperm(len(clouds.labels), generator=generator(0, "modelnet40", split))
    inputs = torch.from_numpy(np.ascontiguousarray(clouds.points[:, :points]))
    return Examples(inputs[order], torch.from_numpy(clouds.labels.astype(np.int64))[order])


def digest(clouds: Clouds) -> str:
    """sha256 over points and labels as they were decoded."""
    return hashlib.sha256(clouds.points.tobytes() + clouds.labels.astype(np.uint8).tobytes()).hexdigest()


def from_cache_or_address(name: str, cache: str | None) -> tuple[str, Splits, str]:
    """The form, the clouds, and the route they came by."""
    place = cache_folder(cache) / name
    if (place / NPZ).is_file() or h5_folder(place):
        return *read_folder(place), "cache"
    try:
        files, route = obtain(name, {ARCHIVE: ARCHIVE_SHA256}, ROUTES, None, cache)
    except DataUnavailable as error:
        raise DataUnavailable(
            f"{error}; {NPZ} or the h5 files do as well. dataset=mnist_points needs none of this: point sets made "
            "from MNIST"
        ) from error
    return "h5", read_archive(files[ARCHIVE]), route


def h5_folder(folder: Path) -> Path | None:
    """Where the h5 files lie: in `folder`, or in the folder of its own into which their zip unpacks."""
    places = (folder, folder / Path(ARCHIVE).stem)
    return next((place for place in places if any((place / part).is_file() for part in ALL_PARTS)), None)


def read_folder(folder: Path) -> tuple[str, Splits]:
    """The form found in `folder`, and its clouds.

    Raises ValueError when there is none, or it is damaged or incomplete.
    """
    if (folder / NPZ).is_file():
        return "npz", read_npz(folder / NPZ)
    if place := h5_folder(folder):
        missing = [part for part in ALL_PARTS if not (place / part).is_file()]
        if missing:
            raise ValueError(f"{place} lacks {', '.join(missing)}; the h5 form is all of {', '.join(ALL_PARTS)}")
        return "h5", read_h5({part: (place / part).read_bytes() for part in ALL_PARTS})
    if (folder / ARCHIVE).is_file():
        content = (folder / ARCHIVE).read_bytes()
        if sha256_of(content) != ARCHIVE_SHA256:
            raise ValueError(f"{folder / ARCHIVE}: sha256 is not {ARCHIVE_SHA256}; replace the file")
        return "h5", read_archive(content)
    raise ValueError(
        f"{folder} holds neither {NPZ} nor {ALL_PARTS[0]} nor {ARCHIVE}; put one there, leave dataset.folder unset, "
        "or choose dataset=mnist_points"
    )


def read_npz(path: Path) -> Splits:
    """The clouds of `modelnet40_1024.npz`; raises ValueError unless they are the known ones."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            points = arrays["points"].astype(np.float32) / np.float32(NPZ_STEPS)
            labels, is_test = arrays["label"], arrays["is_test"]
        chosen = {"train": ~is_test, "test": is_test}
        splits = {split: Clouds(points[rows], labels[rows]) for split, rows in chosen.items()}
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}); replace the file") from error
    for split, sha256 in NPZ_DIGESTS.items():
        if digest(splits[split]) != sha256:
            raise ValueError(f"{path}: sha256 of its {split} clouds is not {sha256}; replace the file")
    return splits


def read_archive(content: bytes) -> Splits:
    """The clouds of `modelnet40_ply_hdf5_2048.zip`."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {Path(member).name: member for member in archive.namelist()}
        return read_h5({part: read_member(archive, members[part]) for part in ALL_PARTS})


def read_h5(parts: Files) -> Splits:
    """The clouds of the h5 files in `parts` (name → content), each split in the order of its files."""
    h5py = import_h5py()
    return {split: join([read_h5_part(h5py, parts[name], name) for name in names]) for split, names in H5_PARTS.items()}


def import_h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise ValueError(
            f"the h5 form of ModelNet40 needs h5py, which is not installed; pip install tightfit[h5], or use {NPZ}"
        ) from error


def read_h5_part(h5py: Any, content: bytes, name: str) -> Clouds:
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            points, labels = np.asarray(file["data"][:], np.float32), np.asarray(file["label"][:]).reshape(-1)
    except (OSError, KeyError) as error:
        raise ValueError(f"{name} is damaged ({error}); replace the file") from error
    if points.ndim != 3 or points.shape[2] != 3 or len(points) != len(labels) or labels.max() >= CLASSES:
        raise ValueError(
            f"{name} holds points {points.shape} and {len(labels)} labels up to {labels.max()}; "
            f"ModelNet40 has (m, n, 3), m and up to {CLASSES - 1}: replace the file"
        )
    return Clouds(points, labels)


def join(parts: list[Clouds]) -> Clouds:
    return Clouds(np.concatenate([p.points for p in parts]), np.concatenate([p.labels for p in parts]))


def address(base: str) -> Route:
    return Route(base, lambda: {ARCHIVE: download(base + ARCHIVE)})


ROUTES = tuple(address(base) for base in ADDRESSES)
