"""What a data set is to the rest of the project: examples to train on, examples to score, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch


class DataUnavailable(RuntimeError):
    """No route led to the data; the message lists the routes tried and what to do."""


@dataclass(frozen=True)
class Examples:
    """inputs: (n, …) uint8 pixels, float features or int64 tokens; labels: (n,) int64."""

    inputs: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: slice | torch.Tensor) -> Examples:
        return Examples(self.inputs[chosen], self.labels[chosen])

    def to(self, device: torch.device | str) -> Examples:
        return Examples(self.inputs.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Appended:
    """Answers that are appended to the prompt, each in a row of its own; `longest` is the most tokens of one."""

    longest: int


# Of a text task: the token that says each class; nothing for a model with a head; or that answers are appended.
Answers = tuple[int, ...] | Appended


@dataclass(frozen=True)
class Dataset:
    """A data set with a training split and the split that is scored."""

    name: str
    classes: int
    train: Examples
    test: Examples
    scored: str  # "test" or "validation": what `test` really holds
    mean: float  # of inputs / 255, for images
    std: float
    route: str
    checksums: dict[str, str]  # sha256 of the decoded files or arrays
    details: dict[str, Any] = field(default_factory=dict)
    answers: Answers = ()

    @property
    def example_shape(self) -> tuple[int, ...]:
        return tuple(self.train.inputs.shape[1:])

    @property
    def balance(self) -> dict[str, Any]:
        """For a record: examples of each class in both splits, and the accuracy of always giving the class that most
        of those scored are of."""
        train, scored = (part.labels.bincount(minlength=self.classes).tolist() for part in (self.train, self.test))
        return {
            "classes": self.classes,
            "train_counts": train,
            "scored_counts": scored,
            "majority_accuracy": max(scored) / len(self.test),
        }


def split_of(digest: bytes) -> str:
    """The split of an example with the sha256 `digest`: 80 % are to train on, 10 % to validate on, 10 % to test on."""
    tenth = int.from_bytes(digest[:8]) * 10 >> 64
    return ("train", "validation", "test")[max(0, tenth - 7)]


def check_count(name: str, count: object, least: int = 1) -> None:
    """Raise ValueError unless the setting `name` is a whole number of at least `least`."""
    if isinstance(count, bool) or not isinstance(count, int):
        raise ValueError(f"dataset.{name}={count} is not a whole number; choose {least} or more")
    if count < least:
        raise ValueError(f"dataset.{name}={count} leaves nothing; choose {least} or more")


def check_seed(name: str, seed: object) -> None:
    """Raise ValueError unless the setting `name` is a seed: a whole number from 0."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"dataset.{name}={seed} is no whole number from 0; choose one")


def check_limits(**limits: object) -> None:
    """As `check_count`; a limit may be None too."""
    for name, limit in limits.items():
        if limit is not None:
            check_count(name, limit)
