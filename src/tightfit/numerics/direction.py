"""What random directions are made of, as a choice: a value that makes the directions of one run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from tightfit.memory.table import LayerRow, largest_trained_bytes
from tightfit.numerics.perturbation import KernelName, Noise, Perturbation, check_noise
from tightfit.numerics.probes import Probe, Restore, probe_for
from tightfit.numerics.published import TENSORS_HELD, Published

Parameters = list[tuple[str, nn.Parameter]]


class Direction(Protocol):
    @property
    def slope_in_loss_type(self) -> bool:
        """Whether slopes are taken in the type of the losses, not in float64."""
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


@dataclass(frozen=True)
class Independent:
    """Independent numbers of mean 0 and variance 1. noise: their distribution; kernel: how they are added, which
    changes the time of a sweep and nothing else (see `Perturbation`)."""

    noise: Noise = "gaussian"
    kernel: KernelName = "auto"

    cosmetic = ("kernel",)
    slope_in_loss_type = False

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


@dataclass(frozen=True)
class TorchLegacy:
    """Gaussian numbers in the arithmetic and the order of draws of MeZO's published code, bit for bit where clip is
    infinite (see `numerics.published`)."""

    slope_in_loss_type = True

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
