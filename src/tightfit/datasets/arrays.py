"""A user's own arrays: an .npz file with inputs and labels, of each split or of all examples."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from tightfit.datasets.dataset import Dataset
from tightfit.datasets.labels import spelled, split_called
from tightfit.datasets.own import WHOLE, Part, own_dataset
from tightfit.datasets.routes import sha256_of
from tightfit.records.cosmetic import cosmetic

Arrays = Mapping[str, np.ndarray]


@cosmetic("title")
def arrays(
    name: str,
    path: str,
    title: str = "",
    inputs: str = "x",
    labels: str = "y",
    channels_last: bool = False,
    missing: str | None = None,
    scored: str = "test",
    held_out: int = 0,
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> Dataset:
    """The arrays in `path`: x_train, y_train, x_test, y_test (and x_validation, y_validation), or x and y.

    inputs, labels: what they are called instead of x and y. Inputs are (n, …) numbers, uint8 pixels or floats; images
    without a place for channels, (n, h, w), get one. Labels are (n,) whole numbers, booleans or texts.
    channels_last: whether images are (n, h, w, c). missing: "drop" leaves out examples with a number that is not
    finite, None refuses them. `own_dataset` says what the rest is.
    Raises ValueError for files of another kind, and arrays of other kinds or lengths.
    """
    if missing not in (None, "refuse", "drop"):
        raise ValueError(f"dataset.missing={missing!r} is nothing to do with missing numbers; choose refuse or drop")
    content = Path(path).read_bytes()
    parts = {
        split: part_of(path, names, found, channels_last)
        for split, (names, found) in by_split(path, read_arrays(path, content), inputs, labels).items()
    }
    dropped = 0
    for split, part in parts.items():
        whole = part.inputs.flatten(1).isfinite().all(dim=1)
        if missing != "drop" and not whole.all():
            raise ValueError(
                f"{path}: {int((~whole).sum())} of {len(whole)} examples of {split} have numbers that are not finite; "
                "mend them, or leave them out by dataset.missing=drop"
            )
        dropped += int((~whole).sum())
        parts[split] = part[whole.nonzero().flatten().tolist()]
    details = {"examples_dropped": dropped} if missing == "drop" else {}
    checksums = {Path(path).name: sha256_of(content)}
    return own_dataset(name, parts, scored, held_out, train_limit, test_limit, f"file {path}", checksums, details)


def read_arrays(path: str, content: bytes) -> Arrays:
    """What `path` holds. No code is read: NumPy refuses arrays of objects, which are pickled."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        what = "holds objects, which are not read" if "allow_pickle" in str(error) else "is no .npz file"
        raise ValueError(f"dataset.path={path} {what}; write numbers and texts by numpy.savez") from None


def by_split(path: str, found: Arrays, inputs: str, labels: str) -> dict[str, tuple[str, tuple[np.ndarray, ...]]]:
    """Inputs and labels by split, or WHOLE, with what the inputs are called.

    Raises ValueError where one of the two is missing, or both are there of a whole and of splits.
    """
    splits: dict[str, tuple[str, tuple[np.ndarray, ...]]] = {}
    for name in found:
        prefix, _, end = name.rpartition("_")
        split = WHOLE if name == inputs else split_called(end) if prefix == inputs else None
        if split is None:
            continue
        of_labels = labels if split == WHOLE else f"{labels}_{end}"
        if of_labels not in found:
            raise ValueError(f"{path} has {name} but no {of_labels}; save the labels beside the inputs")
        if split in splits:
            raise ValueError(f"{path} has both {splits[split][0]} and {name}; keep one")
        splits[split] = name, (found[name], found[of_labels])
    if not splits or (WHOLE in splits and len(splits) > 1):
        raise ValueError(
            f"{path} holds {', '.join(found) or 'nothing'}; save {inputs}_train, {labels}_train, {inputs}_test and "
            f"{labels}_test, or {inputs} and {labels} alone, or say what they are called by dataset.inputs and .labels"
        )
    return splits


def part_of(path: str, name: str, found: tuple[np.ndarray, ...], channels_last: bool) -> Part:
    inputs, labels = found
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or len(labels) != len(inputs) or not len(labels):
        raise ValueError(
            f"{path}: {name} is {inputs.shape} but its labels are {labels.shape}; give each input one label"
        )
    if labels.dtype.kind not in "biuU" and not (labels.dtype.kind == "f" and (labels == np.floor(labels)).all()):
        raise ValueError(
            f"{path}: labels of {name} are {labels.dtype}; write whole numbers, booleans or texts. This classifies; "
            "regression is not covered"
        )
    if inputs.ndim < 2 or (inputs.dtype != np.uint8 and inputs.dtype.kind != "f"):
        raise ValueError(
            f"{path}: {name} is {inputs.dtype} {inputs.shape}; save pixels as uint8, or numbers as float32, (n, …)"
        )
    numbers = torch.from_numpy(np.ascontiguousarray(inputs if inputs.dtype == np.uint8 else inputs.astype(np.float32)))
    if channels_last:
        if numbers.dim() != 4:
            raise ValueError(f"dataset.channels_last=true but {name} is {inputs.shape}, not (n, h, w, c); leave it out")
        numbers = numbers.permute(0, 3, 1, 2).contiguous()
    elif numbers.dim() == 3 and numbers.dtype == torch.uint8:
        numbers = numbers.unsqueeze(1)
    return Part(numbers, [spelled(label) for label in labels.tolist()])
