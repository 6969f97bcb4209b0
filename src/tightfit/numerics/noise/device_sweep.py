"""Sweeps whose scales and counters lie in the memory of the weights' device.

Nothing is read by the host, so a sweep can be captured in a graph and replayed for other numbers; and the weights of
many runs are moved in one launch, each run by scales of its own. The bits are those of `Perturbation.add_all_`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tightfit.numerics.noise.perturbation import Perturbation
from tightfit.numerics.noise.streams import CounterStream, NormalStream
from tightfit.records.machine import has_triton

if TYPE_CHECKING:
    from tightfit.numerics.noise.triton_sweep import TritonSweep


@dataclass(frozen=True)
class DeviceMoves:
    """What is added to the weights of k runs, one move after the other."""

    scales: torch.Tensor  # (m, k) float32
    counters: torch.Tensor  # (m, k) int64
    skipped: torch.Tensor  # (k,) int64: so many of the first moves are left out


class DeviceSweep:
    """Moves the weights of k runs, of `perturbations` one each. On the CPU, where reading costs nothing, it does so
    run by run."""

    def __init__(self, perturbations: Sequence[Perturbation]) -> None:
        self._perturbations = perturbations
        self._on_device = triton_sweeps(perturbations)

    def add_(self, moves: DeviceMoves) -> None:
        for sweep in self._on_device:
            sweep.add_(moves.scales, moves.counters, moves.skipped)
        if not self._on_device:
            self._add_by_host(moves)

    def _add_by_host(self, moves: DeviceMoves) -> None:
        each = zip(self._perturbations, moves.scales.T, moves.counters.T, moves.skipped.tolist(), strict=True)
        for perturbation, scales, counters, skipped in each:
            perturbation.add_counted_(list(zip(scales.tolist(), counters.tolist(), strict=True))[skipped:])


def obstacle_to_device_sweep(perturbation: Perturbation) -> str:
    """Why `perturbation` cannot take its moves from device memory; empty where it can."""
    for stream in perturbation.streams.values():
        if isinstance(stream, NormalStream):
            return "PyTorch's generator draws its noise on the host's word"
        if not isinstance(stream, CounterStream):
            return "its directions are no independent numbers"
        if stream.weights.device.type not in ("cpu", "cuda"):
            return f"its weights are on {stream.weights.device}"
        if stream.weights.is_cuda and not has_triton():
            return "triton is not installed; pip install triton"
    return ""


def triton_sweeps(perturbations: Sequence[Perturbation]) -> list[TritonSweep]:
    """One for each type of the weights on a CUDA device."""
    by_type: dict[torch.dtype, list[tuple[int, CounterStream]]] = {}
    for run, perturbation in enumerate(perturbations):
        for stream in perturbation.streams.values():
            if isinstance(stream, CounterStream) and stream.weights.is_cuda:
                by_type.setdefault(stream.weights.dtype, []).append((run, stream))
    if not by_type:
        return []
    from tightfit.numerics.noise.triton_sweep import TritonSweep  # optional, so imported only here

    return [
        TritonSweep([(run, stream.weights, stream.keys) for run, stream in streams], streams[0][1].table)
        for streams in by_type.values()
    ]
