"""Labelled inputs of a user's own, images or numbers, as a data set: splits, classes, mean and deviation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from tightfit.datasets.dataset import Dataset, Examples, split_of
from tightfit.datasets.images import select
from tightfit.datasets.labels import SPLITS, in_order

WHOLE = "whole"  # a part that is no split yet


@dataclass(frozen=True)
class Part:
    """inputs: (n, …) uint8 or float32; labels: n of them, spelled."""

    inputs: torch.Tensor
    labels: Sequence[str]

    def __getitem__(self, chosen: Sequence[int]) -> Part:
        return Part(self.inputs[torch.tensor(chosen, dtype=torch.int64)], [self.labels[index] for index in chosen])


def own_dataset(
    name: str,
    parts: Mapping[str, Part],
    scored: str,
    held_out: int,
    train_limit: int | None,
    test_limit: int | None,
    route: str,
    checksums: Mapping[str, str],
    details: Mapping[str, Any],
) -> Dataset:
    """The data set of `parts`, by split, or of WHOLE, which is split 80/10/10 by a hash of each input.

    Each split is in the order of these hashes, so that the first so many are of all classes. Models see inputs less the
    mean of those trained on, over their standard deviation. scored: test, or validation for the split of that name;
    `select` says what the rest is, without a split to validate on.
    Raises ValueError where a split, a class or any difference is missing.
    """
    if scored not in ("test", "validation"):
        raise ValueError(f"dataset.scored={scored!r} is not a split; choose test or validation")
    check_alike(name, parts)
    splits = {split: mixed(part) for split, part in parts.items()}
    if WHOLE in splits:
        splits = split_by_hash(splits[WHOLE])
    if "train" not in splits:
        raise ValueError(f"{name} has no split train; give it examples to train on")
    if scored not in splits:
        how = "dataset.scored=validation" if scored == "test" else "dataset.held_out=… to take some to train on"
        raise ValueError(f"{name} has no {scored} examples to score; give it such a split, or set {how}")
    if held_out and scored == "validation":
        raise ValueError(f"dataset.held_out={held_out} but the split validation is scored; choose one")
    classes = in_order(splits["train"].labels)
    if len(classes) < 2:
        raise ValueError(f"{name} is all of the class {classes[0]!r} to train on; add examples of another one")
    examples = {split: numbered(name, split, part, classes) for split, part in splits.items()}
    whole = Dataset(
        name, len(classes), examples["train"], examples[scored], scored, 0.0, 1.0, route, dict(checksums), dict(details)
    )
    chosen = select(whole, held_out, train_limit, test_limit)
    chosen = replace(chosen, scored="validation" if held_out else scored)
    mean, std = spread(name, chosen.train.inputs)
    on_record = {**details, "labels": classes, "mean": mean, "std": std}
    return replace(chosen, mean=mean, std=std, details=on_record)


def check_alike(name: str, parts: Mapping[str, Part]) -> None:
    """Raise ValueError unless the inputs of all `parts` are of one form."""
    (first, one), *others = parts.items()
    for split, part in others:
        forms = [f"{each.inputs.dtype} {tuple(each.inputs.shape[1:])}".removeprefix("torch.") for each in (one, part)]
        if forms[0] != forms[1]:
            raise ValueError(f"{name}: examples of {first} are {forms[0]}, of {split} {forms[1]}; give all one form")


def digests_of(part: Part) -> list[bytes]:
    return [hashlib.sha256(each.numpy().tobytes()).digest() for each in part.inputs]


def mixed(part: Part) -> Part:
    """`part` in an order that its contents make, and neither their classes nor their names."""
    digests = digests_of(part)
    return part[sorted(range(len(digests)), key=digests.__getitem__)]


def split_by_hash(part: Part) -> dict[str, Part]:
    """Equal inputs never stand on both sides; a split without examples is left out."""
    chosen = [split_of(digest) for digest in digests_of(part)]
    indices = {split: [index for index, each in enumerate(chosen) if each == split] for split in SPLITS}
    return {split: part[each] for split, each in indices.items() if each}


def numbered(name: str, split: str, part: Part, classes: Sequence[str]) -> Examples:
    """Labels as places among `classes`. Raises ValueError for one that is not among them."""
    places = {label: place for place, label in enumerate(classes)}
    unknown = [label for label in part.labels if label not in places]
    if unknown:
        raise ValueError(
            f"{name}: label {unknown[0]!r} stands in {split} {len(unknown)} times but never in train, which has "
            f"{', '.join(classes)}; leave such examples out, or train on some"
        )
    return Examples(part.inputs, torch.tensor([places[label] for label in part.labels], dtype=torch.int64))


def spread(name: str, inputs: torch.Tensor) -> tuple[float, float]:
    """Mean and standard deviation of inputs / 255, as `Dataset` has them. Raises ValueError for inputs all alike."""
    numbers = inputs.double() / 255
    mean, std = float(numbers.mean()), float(numbers.std(correction=0))
    if numbers.min() == numbers.max():  # whose deviation is not 0 where the mean is rounded
        raise ValueError(f"{name}: all numbers to train on are {float(inputs.flatten()[0])}; check how they were saved")
    return mean, std


def digest_of(parts: Mapping[str, Part]) -> str:
    """sha256 over splits, labels and inputs."""
    sha256 = hashlib.sha256()
    for split, part in sorted(parts.items()):
        sha256.update(repr((split, list(part.labels), part.inputs.dtype, tuple(part.inputs.shape))).encode())
        sha256.update(part.inputs.contiguous().numpy().tobytes())
    return sha256.hexdigest()
