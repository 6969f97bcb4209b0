"""Directions of independent numbers: the perturbation of MeZO."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from tightfit.memory.table import LayerRow, largest_trained_bytes
from tightfit.numerics.noise.perturbation import KernelName, Noise, Perturbation, check_noise
from tightfit.numerics.noise.probes import Probe, Restore, probe_for
from tightfit.optimizers.directions.direction import Parameters


@dataclass(frozen=True)
class Independent:
    """Independent numbers of mean 0 and variance 1. noise: their distribution; kernel: how they are added, which
    changes the time of a sweep and nothing else (see `Perturbation`)."""

    noise: Noise = "gaussian"
    kernel: KernelName = "auto"

    cosmetic = ("kernel",)
    slope_in_loss_type = False
    in_pieces = True
    together = 1

    def __post_init__(self) -> None:
        check_noise(self.noise, self.kernel)

    def check(self, queries: int, restore: Restore) -> None:
        pass

    def bytes_held(self, rows: tuple[LayerRow, ...], restore: Restore) -> int:
        """With restore=exact a moved copy of the largest layer."""
        return largest_trained_bytes(rows) if restore == "exact" else 0

    def perturbation(self, parameters: Iterable[tuple[str, nn.Parameter]], seed: int, queries: int) -> Perturbation:
        return Perturbation(parameters, seed, queries, self.noise, self.kernel)

    def probe(self, model: nn.Module, parameters: Parameters, seed: int, queries: int, restore: Restore) -> Probe:
        return probe_for(restore, model, self.perturbation(parameters, seed, queries))


GAUSSIAN = Independent()
