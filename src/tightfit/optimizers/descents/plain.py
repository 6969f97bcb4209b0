"""Against each direction, as far as the slope along it: ZO-SGD, the step of MeZO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tightfit.optimizers.descents.along import AlongDirections


@dataclass(frozen=True)
class Plain(AlongDirections):
    kind = "plain"
    unkeyed = True  # what all zeroth-order methods did before there was a choice: runs of then keep their names

    def coefficients(self, slopes: Sequence[float]) -> Sequence[float]:
        return slopes


PLAIN = Plain()
