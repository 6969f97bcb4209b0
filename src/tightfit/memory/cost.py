"""What a step does, in units that need no machine: passes over the layers and sweeps over the weights."""

from __future__ import annotations

from dataclasses import dataclass

from tightfit.memory.table import LayerRow, LayerTable


@dataclass(frozen=True)
class Cost:
    """The work of one step.

    forward: forward passes over its batch, those that compute again or hold several copies of the batch included.
    backward: the operations of its backward passes, in units of one forward pass.
    sweeps: passes over the trained weights that read and write each of them, and do nothing else.
    together: forward passes that are made as one, over a larger batch, so that the weights are read once for all.
    """

    forward: float
    backward: float = 0.0
    sweeps: float = 0.0
    together: int = 1


def backward_work(table: LayerTable, rows: tuple[LayerRow, ...]) -> float:
    """Operations of a backward pass through `rows` of `table`, in forward passes through all of it.

    A row's errors cost as much as its outputs did, for each operand that they go back to; the gradients of its weights
    as much again, if it trains any.
    """
    whole = sum(row.operations for row in table.rows)
    part = sum(row.operations * (row.operands + row.has_weights) for row in rows)
    return part / whole if whole else 0.0
