"""AdaZeta: MeZO with more directions a step as training goes on (Yang et al., 2024, arXiv 2406.18060).

In epoch e, counted from 0, a step averages the slopes along ⌊scale · e^power⌋ directions, at least 1 and at most
`queries`: few while the way is plain, more as the noise of an estimate comes to matter. It was made for adapters of
tensor trains (adapter=tt), and moves whatever is trained.

The number of a direction among those of all steps is step · `queries` + query, whatever a step uses: counted by what
it uses, numbers of different steps would meet.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.schedules import check_each


@dataclass(frozen=True)
class AdaZeta(MeZO):
    """As MeZO. queries: the most directions of a step; scale, power: of how they grow with epochs. Its cost is that
    of a step with the most."""

    queries: int = 15
    scale: float = field(default=0.5, kw_only=True)
    power: float = field(default=0.5, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("scale", "power"):
            check_each(f"optimizer.{name}", getattr(self, name), lambda value: 0 <= value < 100, "from 0 to 100")

    steady = False

    def queries_at(self, epoch: float) -> int:
        """How many directions a step in `epoch` probes."""
        return max(1, min(int(self.scale * int(epoch) ** self.power), self.queries))
