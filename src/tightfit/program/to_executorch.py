"""Writes a training step as an ExecuTorch program: the adapters are buffers that the runtime keeps between calls.

Matrix products and what surrounds them are delegated to XNNPACK; the noise, integers, stays with the portable kernels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, EdgeProgramManager, ExecutorchBackendConfig, to_edge_transform_and_lower
from executorch.exir.passes.init_mutable_pass import InitializedMutableBufferPass
from torch.fx.passes.infra.partitioner import Partition

from tightfit.program.formats import Example, exported
from tightfit.program.program import TrainingStep


class RunsOfOperators(XnnpackPartitioner):
    """Delegates each run of operators that XNNPACK has, in the order of the graph.

    The class it inherits from compares every pair of operators with all that depends on them, to merge what it can: too
    slow for an adapter at each projection of 30 layers. Operators that follow one another can be merged unseen.
    """

    def generate_partitions(self, ep: torch.export.ExportedProgram) -> list[Partition]:
        operators = (node for node in ep.graph.nodes if node.op == "call_function")
        place_of = {node: place for place, node in enumerate(operators)}
        groups = self.get_matched_nodes_from_configs(ep)  # each with the weights that it needs
        runs: list[Partition] = []
        end = -1
        for places, group in sorted(
            ((sorted(place_of[node] for node in group if node in place_of), group) for group in groups),
            key=lambda pair: pair[0],
        ):
            if places[-1] - places[0] >= len(places):
                continue  # not together in the graph: left to the portable kernels
            if places[0] != end:
                runs.append(Partition(id=len(runs), nodes=[]))
            for node in group:
                runs[-1].add_node(node)
            end = places[-1] + 1
        return runs


def write_executorch(step: TrainingStep, example: Example, path: Path) -> None:
    edge = to_edge_transform_and_lower(
        exported(step, example),
        partitioner=[RunsOfOperators()],
        # It would look for operators outside of the core set, after each of many passes; there are some, the shifts of
        # integers, and the runtime has kernels for them.
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
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
