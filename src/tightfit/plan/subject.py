"""What a plan is about: one model by one method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tightfit.memory.assumptions import Assumptions, asked
from tightfit.memory.breakdown import Breakdown
from tightfit.memory.cost import Cost
from tightfit.memory.table import LayerTable, frozen_bytes
from tightfit.optimizers.base import Optimizer
from tightfit.plan.frozen import with_frozen

Table = Callable[[int], LayerTable]  # of sequences of so many positions; 0 where a model takes none


@dataclass(frozen=True)
class Subject:
    """The method is asked, as a run asks it; `assumptions`, of transformers alone, say how its bytes count."""

    model: str
    optimizer: str
    method: Optimizer
    table: Table
    assumptions: Assumptions | None = None
    longest: int = 0  # the longest sequence the model can take
    family: Callable[[int], Subject] | None = None  # the same method on the n-th model of the family
    frozen_bits: int | None = None  # of what the adapter freezes

    def memory(self, s: int, b: int) -> Breakdown:
        """Raises ValueError for a batch or sequence that the model cannot take, or a method that does not fit it."""
        if b < 1:
            raise ValueError(f"batch_size={b} but a step needs at least one example; choose 1 or more")
        table = self.table(s)
        if self.assumptions is None:
            return self.method.memory(table, b)
        unfused = getattr(self.method, "unfused", self.method)
        assumed = asked(
            lambda table: self.method.memory(table, b), lambda table: unfused.memory(table, b), table, self.assumptions
        )
        return with_frozen(assumed, table, self.frozen_bits, self.assumptions) if self.frozen_bits else assumed

    def cost(self, s: int, b: int) -> Cost:
        return self.method.cost(self.table(s), b)

    def forward_flops(self, s: int, b: int) -> int:
        """Operations of one forward pass over the batch."""
        return b * sum(row.operations for row in self.table(s).rows)

    def parameters(self, s: int) -> int:
        return sum(row.parameters for row in self.table(s).rows)

    def frozen_bytes(self, s: int) -> int:
        """Bytes of the weights that no method changes."""
        return frozen_bytes(self.table(s).rows)

    def trained_share(self, s: int) -> float:
        """The part of the weights that methods change."""
        return sum(row.trained_elements for row in self.table(s).rows) / self.parameters(s)
