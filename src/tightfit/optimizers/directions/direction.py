"""The seam between a zeroth-order method and the directions it probes: one type, no behaviour."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from tightfit.memory.table import LayerRow
from tightfit.numerics.noise.probes import Probe, Restore

Parameters = list[tuple[str, nn.Parameter]]


class Direction(Protocol):
    @property
    def noise(self) -> str:
        """What a direction is made of, as the record of a run calls it."""
        ...

    @property
    def slope_in_loss_type(self) -> bool:
        """Whether slopes are taken in the type of the losses, not in float64."""
        ...

    @property
    def in_pieces(self) -> bool:
        """Whether `probe` gives a `ProbeInPieces`."""
        ...

    @property
    def together(self) -> int:
        """How many forward passes of a step are made as one, over a batch that is repeated as often."""
        ...

    def check(self, queries: int, restore: Restore) -> None:
        """Raise ValueError for settings of the method that the directions cannot serve."""
        ...

    def bytes_held(self, rows: tuple[LayerRow, ...], restore: Restore) -> int:
        """Bytes that moving the weights of `rows` along a direction holds beside them."""
        ...

    def probe(self, model: nn.Module, parameters: Parameters, seed: int, queries: int, restore: Restore) -> Probe:
        """What moves `parameters` of `model` to both ends of a direction and back."""
        ...
