"""Writes a training step for ONNX Runtime: the adapters are inputs and outputs, which the host hands on.

The file holds their first values, which ONNX calls the defaults of these inputs.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import nn
from torch.func import functional_call

from tightfit.on_device.formats import Example
from tightfit.on_device.program import TrainingStep
from tightfit.on_device.runtimes import ARGUMENTS


class PureStep(nn.Module):
    """A training step that returns the adapters instead of changing them."""

    def __init__(self, step: TrainingStep, names: list[str]) -> None:
        super().__init__()
        self._step, self._names = step, names

    def forward(self, *everything: torch.Tensor) -> tuple[torch.Tensor, ...]:
        arguments, state = everything[: len(ARGUMENTS)], everything[len(ARGUMENTS) :]
        held = {name: tensor.clone() for name, tensor in zip(self._names, state, strict=True)}
        losses = functional_call(self._step, held, arguments)
        return losses, *held.values()


def write_onnx(step: TrainingStep, example: Example, path: Path) -> None:
    state = {name: buffer for name, buffer in step.named_buffers() if name.endswith(".B")}
    names = list(state)
    with torch.no_grad():
        program = torch.onnx.export(
            PureStep(step, names),
            (*example, *state.values()),
            input_names=[*ARGUMENTS, *names],
            output_names=["losses", *(f"next.{name}" for name in names)],
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    model.graph.initializer.extend(onnx.numpy_helper.from_array(state[name].numpy(), name) for name in names)
    onnx.save(model, path)
