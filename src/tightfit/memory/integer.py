"""Bytes of integer training: int8 tensors, and an int32 accumulator beside each that a product makes.

The largest accumulator must be known before any can be rounded, so a whole tensor of them is staged.
ElasticZO prints eq. 13–15 so that errors would be staged per output; its published numbers follow only when they
are staged per input, where the error that a layer sends down has its size. This follows the numbers.
"""

from __future__ import annotations

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.table import LayerTable, output_bytes, parameter_bytes


def integer_memory(table: LayerTable, batch_size: int, bp_layers: int) -> Breakdown:
    """Bytes held when the last `bp_layers` layers with weights are trained by NITI's backward.

    Raises ValueError when the model has fewer, or none of integers. Source: ElasticZO, eq. 14 (none), 13 (all), 15.
    """
    if not any(row.accumulator_bytes for row in table.rows):
        raise ValueError(
            f"niti_bp, zo_int8 and elastic_zo_int8 train int8 layers, and {table.model} is not made of them; choose "
            "model=lenet5_int8, or optimizer=mezo, elastic_zo or bp_sgd"
        )
    tail = table.last(bp_layers)
    tail_weights = [row for row in tail if row.has_weights]
    return Breakdown(
        parameters=parameter_bytes(table.rows),
        activations=output_bytes(table.rows, batch_size)
        + sum(row.outputs * row.accumulator_bytes for row in table.rows) * batch_size,
        gradients=parameter_bytes(tail) + sum(row.parameters * row.accumulator_bytes for row in tail_weights),
        # The first layer that is trained so sends no error down.
        errors=output_bytes(tail, batch_size)
        + sum(row.inputs * row.accumulator_bytes for row in tail_weights[1:]) * batch_size,
    )
