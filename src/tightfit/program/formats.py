"""Writes a training step as a file, once for each kind of runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from tightfit.program.program import TrainingStep
from tightfit.program.runtimes import check_format, library

Example = tuple[torch.Tensor, ...]
Writer = Callable[[TrainingStep, Example, Path], None]
SUFFIXES = {"executorch": ".pte", "onnx": ".onnx", "torch_export": ".pt2"}


def writer_for(name: str) -> Writer:
    """Raises ValueError when there is no such format, or when its library is not installed."""
    check_format(name)
    if name == "torch_export":
        return write_torch_export
    library({"executorch": "executorch.exir", "onnx": "onnxscript"}[name])
    if name == "executorch":
        from tightfit.program.to_executorch import write_executorch

        return write_executorch
    from tightfit.program.to_onnx import write_onnx

    return write_onnx


def exported(step: TrainingStep, example: Example) -> torch.export.ExportedProgram:
    with torch.no_grad():
        return torch.export.export(step, example)


def write_torch_export(step: TrainingStep, example: Example, path: Path) -> None:
    torch.export.save(exported(step, example), path)
