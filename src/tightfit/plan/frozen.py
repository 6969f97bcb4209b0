"""What a base in 8 or 4 bits saves, and what its use costs, in the bytes of `models.adapters.frozen`."""

from __future__ import annotations

from dataclasses import replace

from tightfit.memory.assumptions import Assumptions
from tightfit.memory.breakdown import Breakdown
from tightfit.memory.table import LayerRow, LayerTable
from tightfit.models.adapters.frozen import GROUP


def with_frozen(said: Breakdown, table: LayerTable, bits: int, a: Assumptions) -> Breakdown:
    """`said`, with each frozen linear layer of the numbered blocks in `bits`, and one of them widened at a time.

    Raises ValueError where there is none.
    """
    rows = [row for row in table.rows if row.frozen and row.features[0] and row.block.startswith("layers.")]
    if not rows:
        raise ValueError(f"adapter.frozen_bits={bits} but no linear layer of {table.model} is frozen; leave it out")
    sizes = [row.features[0] * row.features[1] for row in rows]
    saved = sum(a.weight_bytes * size - held(row, bits, a.weight_bytes) for row, size in zip(rows, sizes, strict=True))
    return replace(
        said, parameters=round(said.parameters - saved), activations=said.activations + max(sizes) * a.activation_bytes
    )


def held(row: LayerRow, bits: int, scale_bytes: float) -> float:
    """Bytes of the rounded weights of `row` and of their scales: one for each row of 8 bits, or for 64 of 4 bits."""
    inside, outside = row.features
    group = inside if bits == 8 or inside % GROUP else GROUP
    return outside * (inside * bits / 8 + inside // group * scale_bytes)
