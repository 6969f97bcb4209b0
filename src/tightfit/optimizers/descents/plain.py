"""Against each direction, as far as the slope along it: ZO-SGD, the step of MeZO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tightfit.optimizers.descents.along import AlongDirections
from tightfit.optimizers.descents.descent import Descent


@dataclass(frozen=True)
class Plain(AlongDirections):
    kind = "plain"
    unkeyed = True  # what all zeroth-order methods did before there was a choice: runs of then keep their names

    def coefficients(self, slopes: Sequence[float]) -> Sequence[float]:
        return slopes


PLAIN = Plain()


def check_plain(descent: Descent, method: str) -> None:
    """Raise ValueError for a descent beside a method that counts on how far slopes move the weights."""
    if descent != PLAIN:
        raise ValueError(f"descent={descent.kind} but {method} moves by its slopes alone; choose descent=plain")
