"""Named byte counts: what a training step holds, kind by kind."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Breakdown:
    """Bytes by kind."""

    parameters: int
    activations: int
    gradients: int = 0
    errors: int = 0  # dL/d(activation), one for each activation that backpropagation passes
    optimizer_state: int = 0

    @property
    def total(self) -> int:
        return sum(asdict(self).values())

    def as_dict(self) -> dict[str, int]:
        return {**asdict(self), "total": self.total}
