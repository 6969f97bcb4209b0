"""Directions as MeZO's published code draws them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from tightfit.memory.table import LayerRow, largest_trained_bytes
from tightfit.numerics.noise.probes import Probe, Restore
from tightfit.numerics.noise.published import TENSORS_HELD, Published
from tightfit.optimizers.directions.direction import Parameters


@dataclass(frozen=True)
class TorchLegacy:
    """Gaussian numbers in the arithmetic and the order of draws of MeZO's published code, bit for bit where clip is
    infinite (see `numerics.noise.published`)."""

    noise = "torch_legacy"
    slope_in_loss_type = True
    in_pieces = False
    together = 1

    def check(self, queries: int, restore: Restore) -> None:
        if (queries, restore) != (1, "merged"):
            raise ValueError(
                f"queries={queries}, restore={restore} but direction=torch_legacy replays the published code, which "
                "has neither; choose queries=1, restore=merged, or another direction"
            )

    def bytes_held(self, rows: tuple[LayerRow, ...], restore: Restore) -> int:
        return TENSORS_HELD * largest_trained_bytes(rows)

    def probe(self, model: nn.Module, parameters: Parameters, seed: int, queries: int, restore: Restore) -> Probe:
        model.eval()
        return Published(parameters, seed)
