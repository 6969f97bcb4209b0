"""How right answers are, by what was answered of each class: accuracy, macro F1, Matthews' coefficient, recall."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

METRICS = ("accuracy", "macro_f1", "matthews")  # a number each, more is better


@dataclass(frozen=True)
class Score:
    """counts: (c, c), of the examples of each class, in rows, how many were given each answer, in columns.
    loss: mean cross-entropy in nats."""

    counts: Sequence[Sequence[int]]
    loss: float

    @cached_property
    def examples(self) -> int:
        return sum(self.of_class)

    @cached_property
    def right(self) -> list[int]:
        return [row[place] for place, row in enumerate(self.counts)]

    @cached_property
    def of_class(self) -> list[int]:
        return [sum(row) for row in self.counts]

    @cached_property
    def answered(self) -> list[int]:
        return [sum(column) for column in zip(*self.counts, strict=True)]

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return sum(self.right) / self.examples

    @property
    def recall(self) -> list[float | None]:
        """Of each class, the share that was found; None of a class without examples."""
        return [right / count if count else None for right, count in zip(self.right, self.of_class, strict=True)]

    @property
    def macro_f1(self) -> float:
        """The mean of F1 over the classes that have examples or were answered."""
        sizes = [own + given for own, given in zip(self.of_class, self.answered, strict=True)]
        scores = [2 * right / size for right, size in zip(self.right, sizes, strict=True) if size]
        return sum(scores) / len(scores)

    @property
    def matthews(self) -> float:
        """The correlation of classes and answers, from -1 to 1; 0 where one of the two never varies.

        Source: Gorodkin, 2004, "Comparing two K-category assignments by a K-category correlation coefficient".
        """
        n = self.examples
        by_chance = sum(own * given for own, given in zip(self.of_class, self.answered, strict=True))
        spreads = [n * n - sum(count * count for count in counts) for counts in (self.of_class, self.answered)]
        if not all(spreads):
            return 0.0
        return (n * sum(self.right) - by_chance) / math.sqrt(spreads[0] * spreads[1])

    def by(self, metric: str) -> float:
        return float(getattr(self, metric))

    def as_dict(self, split: str) -> dict[str, float | list[float | None] | None]:
        """As a row of evaluations has it."""
        numbers = {f"{split}_{metric}": self.by(metric) for metric in METRICS}
        loss = self.loss if math.isfinite(self.loss) else None  # which JSON has no number for
        return {**numbers, f"{split}_loss": loss, f"{split}_recall": self.recall}
