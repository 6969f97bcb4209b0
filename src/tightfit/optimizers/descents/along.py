"""Descents that move along each direction by a number of its own, and hold nothing between steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tightfit.memory.table import LayerRow
from tightfit.numerics.noise.probes import Probe, Restore
from tightfit.optimizers.descents.descent import Descender
from tightfit.optimizers.directions.direction import Direction, Parameters

# What takes the place of the slopes of a step, one number for each.
Coefficients = Callable[[Sequence[float]], Sequence[float]]


class AlongDirections:
    """What such descents share: each says its `coefficients`."""

    def coefficients(self, slopes: Sequence[float]) -> Sequence[float]:
        """How far to move against each direction, in units of the rate and divided by the number of directions."""
        raise NotImplementedError

    def check(self, queries: int, direction: Direction) -> None:
        pass

    def state_bytes(self, rows: Sequence[LayerRow]) -> int:
        return 0

    def sweeps(self, queries: int, restore: Restore) -> int:
        """Merged, each move is made on the way to the next probe."""
        return queries if restore == "exact" else 0

    def begin(self, parameters: Parameters, queries: int) -> Descender:
        return MoverAlong(self.coefficients, queries)


class MoverAlong:
    def __init__(self, coefficients: Coefficients, queries: int) -> None:
        self._coefficients, self._queries = coefficients, queries

    def step_(self, probe: Probe, lr: float, slopes: Sequence[float], step: int) -> None:
        coefficients = self._coefficients(slopes)
        more = self._queries / len(coefficients)  # of a share of the rate, where a step has fewer directions: else 1
        last = len(coefficients) - 1
        for query in [last, *range(last)]:  # first the last: on the way back from its probe
            probe.update_(lr, coefficients[query] * more, step, query)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
