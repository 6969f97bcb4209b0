"""Writes a training step for ONNX Runtime: the adapters are inputs and outputs, which the host hands on.

The file holds their first values, which ONNX calls the defaults of these inputs.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import nn
from torch.func import functional_call

from tightfit.program.formats import Example
from tightfit.program.program import TrainingStep
from tightfit.program.runtimes import ARGUMENTS, STATE


class PureStep(nn.Module):
    """A training step that returns the adapters instead of changing them."""

    def __init__(self, step: TrainingStep) -> None:
        super().__init__()
        self._step = step

    def forward(self, *everything: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        *arguments, state = everything
        held = {STATE: state.clone()}
        losses = functional_call(self._step, held, tuple(arguments))
        return losses, held[STATE]


def write_onnx(step: TrainingStep, example: Example, path: Path) -> None:
    with torch.no_grad():
        program = torch.onnx.export(
            PureStep(step),
            (*example, step.B),
            input_names=[*ARGUMENTS, STATE],
            output_names=["losses", f"next.{STATE}"],
            dynamo=True,
            optimize=False,  # it would try each of its patterns at each node; the runtime has its own, which are fast
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    model.graph.initializer.append(onnx.numpy_helper.from_array(step.B.numpy(), STATE))
    onnx.save(model, path)
