"""Writes a training step as an ExecuTorch program: the adapters are buffers that the runtime keeps between calls.

Matrix products and what surrounds them are delegated to XNNPACK; the noise, integers, stays with the portable kernels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import (
    EdgeCompileConfig,
    EdgeProgramManager,
    ExecutorchBackendConfig,
    to_edge_transform_and_lower,
)
from executorch.exir.passes.init_mutable_pass import InitializedMutableBufferPass

from tightfit.on_device.formats import Example, exported
from tightfit.on_device.program import TrainingStep

# Not of the core set of operators, but the runtime has kernels for them.
SHIFTS = [torch.ops.aten.bitwise_right_shift.Tensor_Scalar, torch.ops.aten.bitwise_right_shift.Tensor]


def write_executorch(step: TrainingStep, example: Example, path: Path) -> None:
    edge = to_edge_transform_and_lower(
        exported(step, example),
        partitioner=[XnnpackPartitioner()],
        compile_config=EdgeCompileConfig(_core_aten_ops_exception_list=SHIFTS),
    )
    program = edge.to_executorch(
        ExecutorchBackendConfig(
            # A runtime leaves mutable buffers as it finds the memory, unless told by the names of their placeholders.
            passes=[InitializedMutableBufferPass(mutated_placeholders(edge))],
            emit_mutable_buffer_names=True,  # so that the adapters can be read at the end
        )
    )
    with path.open("wb") as file:
        program.write_to_file(file)


def mutated_placeholders(edge: EdgeProgramManager) -> list[str]:
    signature = edge.exported_program().graph_signature
    mutated = set(signature.buffers_to_mutate.values())
    return [placeholder for placeholder, buffer in signature.inputs_to_buffers.items() if buffer in mutated]
