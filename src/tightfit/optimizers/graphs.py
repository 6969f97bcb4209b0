"""Work on device memory captured once for each shape of its inputs and replayed: the host launches one thing a step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

Work = Callable[[torch.Tensor, torch.Tensor], None]

WARM_UPS = 2  # passes before a capture: libraries choose algorithms and take workspaces at their first
FINEST = 8  # lengths of sequences are multiples of this at least


@dataclass(frozen=True)
class Captured:
    """inputs, labels: the memory that `replay` reads."""

    inputs: torch.Tensor
    labels: torch.Tensor
    replay: Callable[[], object]


class Graphs:
    """Does `work`, of inputs and labels, by graphs.

    idling: inside what it makes, work changes nothing; for warming up.
    """

    def __init__(self, work: Work, idling: Callable[[], AbstractContextManager[None]]) -> None:
        self._work, self._idling = work, idling
        self._captured: dict[Any, Captured] = {}
        self._pool: Any = None  # of memory: graphs are never replayed at once, so they share it

    def __call__(self, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        """Raises RuntimeError as `prepare`."""
        captured = self.prepare(inputs, labels)
        captured.inputs.copy_(inputs)
        captured.labels.copy_(labels)
        captured.replay()

    def prepare(self, inputs: torch.Tensor, labels: torch.Tensor) -> Captured:
        """The graph for inputs and labels of these shapes, captured if it is not there.

        Raises RuntimeError where the work cannot be captured, or would draw other numbers than unless it were.
        """
        shape = (inputs.shape, inputs.dtype, labels.shape)
        if shape not in self._captured:
            self._captured[shape] = self._capture(inputs, labels)
        return self._captured[shape]

    def _capture(self, inputs: torch.Tensor, labels: torch.Tensor) -> Captured:
        inputs, labels = inputs.clone(), labels.clone()
        with self._idling():
            check_no_draws(lambda: self._work(inputs, labels), inputs.device)
            if not inputs.is_cuda:  # the stand-in: the same work on the same memory, by the host
                return Captured(inputs, labels, lambda: self._work(inputs, labels))
            stream = torch.cuda.Stream(inputs.device)
            stream.wait_stream(torch.cuda.current_stream(inputs.device))
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    self._work(inputs, labels)
            torch.cuda.current_stream(inputs.device).wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.device(inputs.device), torch.cuda.graph(graph, pool=self._pool):
                self._work(inputs, labels)
            self._pool = graph.pool()
        return Captured(inputs, labels, graph.replay)


def check_no_draws(work: Callable[[], object], device: torch.device) -> None:
    """Raise RuntimeError if `work` draws from PyTorch's generators: in a graph both passes would draw other masks."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index or 0])
    before = [generator.get_state() for generator in generators]
    work()
    after = [generator.get_state() for generator in generators]
    if any(not torch.equal(one, other) for one, other in zip(before, after, strict=True)):
        raise RuntimeError("its forward passes draw random numbers, such as masks of dropout")


def bucket(length: int, most: int | None = None) -> int:
    """The length that sequences of `length` are padded to, at most `most`: one in eight to sixteen is padding, so that
    few graphs serve all lengths. Up to 64, multiples of 8, which data sets have anyway."""
    step = max(FINEST, 2 ** (length - 1).bit_length() // 8)
    padded = -(-length // step) * step
    return padded if most is None else max(length, min(padded, most))


def in_bucket(inputs: torch.Tensor, model: Any) -> torch.Tensor:
    """Tokens (…, s) padded on the right as `model` reads padding, by its `pad`; other inputs as they are."""
    pad = getattr(model, "pad", None)
    if pad is None or inputs.is_floating_point():
        return inputs
    length = inputs.shape[-1]
    return F.pad(inputs, (0, bucket(length, getattr(model, "most_tokens", None)) - length), value=pad)
