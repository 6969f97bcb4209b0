"""Descents that move each weight by a function of its own number of the estimate, Σ slope × z / queries, and of a
state of its own.

The estimate is never held: pieces of all directions are drawn again, added up, turned into a move and forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from tightfit.memory.table import LayerRow
from tightfit.numerics.noise.perturbation import Piece
from tightfit.numerics.noise.probes import Probe, ProbeInPieces, Restore
from tightfit.numerics.noise.rounding import within
from tightfit.optimizers.descents.descent import Descender
from tightfit.optimizers.directions.direction import Direction, Parameters


class Elementwise:
    """What such descents share: each says its `moments`, and its `change`."""

    @property
    def kind(self) -> str:
        raise NotImplementedError

    @property
    def moments(self) -> tuple[str, ...]:
        """The numbers kept for each weight, by name: zeros before the first step."""
        return ()

    def change(self, estimate: torch.Tensor, moments: list[torch.Tensor], lr: float, count: int) -> torch.Tensor:
        """What is added to some weights, (n,) like their `estimate`, which may be overwritten; renews their `moments`.

        count: of the steps made, this one included.
        """
        raise NotImplementedError

    def check(self, queries: int, direction: Direction) -> None:
        if not direction.in_pieces:
            raise ValueError(
                f"descent={self.kind} needs each number of a direction by itself, and direction={direction.noise} "
                "gives whole ones alone; choose direction=gaussian, or descent=plain"
            )

    def state_bytes(self, rows: Sequence[LayerRow]) -> int:
        """The moments of each number, in 32 bits where it has fewer."""
        bytes_each = (row.trained_elements * max(4, row.bytes_per_parameter) for row in rows)
        return len(self.moments) * sum(bytes_each)

    def sweeps(self, queries: int, restore: Restore) -> int:
        """Merged, the weights return from the last probe first. Then all directions are drawn once more, and the
        moments are read and written."""
        return (restore == "merged") + queries + len(self.moments)

    def begin(self, parameters: Parameters, queries: int) -> Descender:
        return MoverOfElements(self, parameters)


class MoverOfElements:
    def __init__(self, descent: Elementwise, parameters: Parameters) -> None:
        self._descent = descent
        self._parameters = dict(parameters)
        self._moments: dict[str, dict[str, torch.Tensor]] = {}  # by their names and those of parameters, flat
        self._count = 0

    @torch.no_grad()
    def step_(self, probe: Probe, lr: float, slopes: Sequence[float], step: int) -> None:
        if not self._moments:
            self._moments = {name: self._zeros() for name in self._descent.moments}
        self._count += 1
        of = {
            parameter: [self._moments[moment][name] for moment in self._descent.moments]
            for name, parameter in self._parameters.items()
        }
        cast(ProbeInPieces, probe).sweep(partial(self._move, of, lr, slopes), step, range(len(slopes)))

    def _move(
        self, of: dict[nn.Parameter, list[torch.Tensor]], lr: float, slopes: Sequence[float], piece: Piece
    ) -> None:
        moments = [moment[piece.place] for moment in of[piece.parameter]]
        change = self._descent.change(estimate_of(piece, slopes), moments, lr, self._count)
        if lr:  # adding zeros would turn −0 into 0
            piece.add_(change)

    def _zeros(self) -> dict[str, torch.Tensor]:
        return {
            name: torch.zeros(parameter.numel(), dtype=at_least_32_bits(parameter.dtype), device=parameter.device)
            for name, parameter in self._parameters.items()
        }

    def state_dict(self) -> dict[str, Any]:
        return {"moments": self._moments, "count": self._count} if self._moments else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._count = state.get("count", 0)
        self._moments = {
            moment: {name: values.to(self._parameters[name].device, copy=True) for name, values in named.items()}
            for moment, named in state.get("moments", {}).items()
        }


def estimate_of(piece: Piece, slopes: Sequence[float]) -> torch.Tensor:
    """The part of Σ slope × z / queries that belongs to `piece`."""
    first, *others = (within(slope / len(slopes), torch.float32) for slope in slopes)
    total = piece.directions[0].to(at_least_32_bits(piece.weights.dtype)).mul_(first)
    for scale, direction in zip(others, piece.directions[1:], strict=True):
        total.add_(direction, alpha=scale)
    return total


def at_least_32_bits(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
