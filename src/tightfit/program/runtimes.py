"""Stock runtimes that drive a program: one interface over numpy arrays, whatever keeps the state.

Nothing here knows the model: a program is opened by its file and its manifest alone.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tightfit.commands.words import WrongWords
from tightfit.program.manifest import Manifest

Arrays = dict[str, np.ndarray]
STATE = "B"  # the vector of all adapters that a program keeps: see `TrainingStep`
# Of a call, in order: see `TrainingStep.forward`.
ARGUMENTS = ("inputs", "labels", "step", "lr", "eps", "slopes")
Arguments = tuple[np.ndarray, ...]


class Program(Protocol):
    """A program that was opened: the adapters stand as exported until it is called."""

    def call(self, arguments: Arguments) -> np.ndarray:
        """One step: the pending update, then the losses (2q,) of the new probes."""
        ...

    def adapters(self) -> Arrays:
        """The adapters as they are: without the update that the next call will make."""
        ...


class ExecuTorchProgram:
    """Runs a .pte; the adapters are mutable buffers in the runtime's memory."""

    def __init__(self, path: Path, manifest: Manifest, threads: int) -> None:
        runtime, self._torch = library("executorch.runtime"), library("torch")
        library("executorch.extension.pybindings.portable_lib")._unsafe_reset_threadpool(threads)
        # The runtime keeps no reference to the program whose method it runs.
        self._program = runtime.Runtime.get().load_program(path)
        self._method = self._program.load_method("forward")
        self._manifest = manifest

    def call(self, arguments: Arguments) -> np.ndarray:
        (losses,) = self._method.execute([self._torch.from_numpy(argument) for argument in arguments])
        return losses.numpy()

    def adapters(self) -> Arrays:
        vector = self._method._method.get_attribute(STATE)  # not offered by the runtime's own wrapper
        return by_name(vector.numpy(), self._manifest)


class OnnxProgram:
    """Runs a .onnx by ONNX Runtime; the adapters go in and come out, and rest here in between."""

    def __init__(self, path: Path, manifest: Manifest, threads: int) -> None:
        runtime = library("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors alone: it warns that B may change, and of each node it does not fold
        self._session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._manifest = manifest
        self._state: Arrays = {}  # at first empty: the session takes the values in the file

    def call(self, arguments: Arguments) -> np.ndarray:
        given = dict(zip(ARGUMENTS, arguments, strict=True))
        losses, self._state[STATE] = self._session.run(None, given | self._state)
        return losses

    def adapters(self) -> Arrays:
        return by_name(self._state[STATE], self._manifest)


class TorchExportProgram:
    """Runs a .pt2 by PyTorch itself."""

    def __init__(self, path: Path, manifest: Manifest, threads: int) -> None:
        self._torch = library("torch")
        self._torch.set_num_threads(threads)
        self._module = self._torch.export.load(path).module()
        self._manifest = manifest

    def call(self, arguments: Arguments) -> np.ndarray:
        with self._torch.no_grad():
            return self._module(*map(self._torch.from_numpy, arguments)).numpy()

    def adapters(self) -> Arrays:
        return by_name(self._module.state_dict()[STATE].numpy(), self._manifest)


def by_name(vector: np.ndarray, manifest: Manifest) -> Arrays:
    """The adapters in the vector that a program keeps."""
    parts = ((name, manifest.starts[name], shape) for name, shape in manifest.adapters.items())
    return {name: vector[start : start + math.prod(shape)].reshape(shape).copy() for name, start, shape in parts}


RUNTIMES: dict[str, Callable[[Path, Manifest, int], Program]] = {
    "executorch": ExecuTorchProgram,
    "onnx": OnnxProgram,
    "torch_export": TorchExportProgram,
}


def open_program(path: Path, manifest: Manifest, threads: int = 1) -> Program:
    """The program at `path`, ready for its first step, which will run on `threads` cores.

    Raises ValueError for a format that is none, a library that is not installed, and a file its runtime refuses.
    """
    check_format(manifest.format)
    try:
        return RUNTIMES[manifest.format](path, manifest, threads)
    except ValueError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(f"{path} cannot be opened by the runtime of {manifest.format} ({reason})") from error


def check_format(name: str) -> None:
    if name not in RUNTIMES:
        raise WrongWords(f"format={name!r} is no format of programs; choose {', '.join(RUNTIMES)}")


def library(name: str) -> Any:
    """The module `name`; raises ValueError, saying how to get it, where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"programs need {name} ({error}); pip install 'tightfit[export]'") from None
