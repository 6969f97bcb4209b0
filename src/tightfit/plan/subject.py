"""What a plan is about: one model by one method, and the device that is to hold it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.budget import MemoryBudget


@dataclass(frozen=True)
class Subject:
    """One model by one method, as functions of s positions and b examples; s is 0 where a model takes no sequence."""

    model: str
    optimizer: str
    parameters: int  # elements
    memory: Callable[[int, int], Breakdown]
    forward_equivalents: Callable[[int, int], float]  # work of a step in forward passes, sweeps not included
    sweeps: int  # passes over all weights that only move them
    forward_flops: Callable[[int, int], float] | None = None
    longest: int = 0  # the longest sequence the model can take
    family: Callable[[int], Subject] | None = None  # the same method on the n-th model of the family


@dataclass(frozen=True)
class Device:
    """At most `memory` bytes; the rates are peaks, None where unknown."""

    name: str
    memory: str | int
    flops_per_second: float | None = None
    bytes_per_second: float | None = None

    def __post_init__(self) -> None:
        try:
            MemoryBudget(self.name, self.memory)
        except OverflowError:
            raise ValueError(f"device.memory is beyond any device: {str(self.memory)[:12]}…; write a size") from None
        for name in ("flops_per_second", "bytes_per_second"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate < math.inf:
                raise ValueError(f"device.{name}={rate} is not a rate; choose more than 0")

    @property
    def budget(self) -> MemoryBudget:
        return MemoryBudget(self.name, self.memory)
