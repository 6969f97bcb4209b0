"""Seeded perturbation of weights, in place, with the direction regenerated instead of stored.

The direction z of a step is a pure function of (root seed, tensor name, step, query). It is drawn a few
thousand numbers at a time, added and forgotten: no copy of a tensor's size ever exists, and the piece stays
in the processor's cache between being drawn and being added.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import nn

from tightfit.numerics.noise.counter_noise import MANTISSA_BITS, TABLES, Key, rounded_stochastically, rounding_bits
from tightfit.numerics.noise.streams import PIECE, CounterStream, HasState, Stream, fused_sweep, streams_for
from tightfit.numerics.threads import share_out, threads_for

Noise = Literal["gaussian", "torch_gaussian", "rademacher", "gaussian_fast"]
# How a counter-based stream is added: `reference` holds all of z, `portable` is PyTorch's operators on pieces, `fused`
# one compiled sweep (numba, or Triton on CUDA); `auto` is fused where it can be had. All give the same bits.
KernelName = Literal["auto", "reference", "portable", "fused"]
NOISES, KERNELS = (*TABLES, "torch_gaussian"), ("auto", "reference", "portable", "fused")


class Move(NamedTuple):
    """`scale` × z(step, query), to be added to the weights."""

    scale: float
    step: int
    query: int = 0


@dataclass(frozen=True)
class Piece:
    """A few thousand weights in a row, and the numbers of some directions that belong to them."""

    parameter: nn.Parameter
    place: slice  # among the flat weights of the parameter
    weights: torch.Tensor  # (n,), in place
    directions: list[torch.Tensor]  # (n,) each
    rounding: Key  # of the chances by which sums are rounded to 16 bits

    def add_(self, change: torch.Tensor) -> None:
        """Add `change` (n,) to the weights; where they have 16 bits the sum is rounded up or down by chance, so that a
        change too small for them is kept on average. `change` may be overwritten."""
        if self.weights.dtype not in MANTISSA_BITS:
            self.weights.add_(change)
            return
        bits = rounding_bits(self.place.start, len(self.weights), self.rounding, self.weights.device)
        self.weights.copy_(rounded_stochastically(change.add_(self.weights), bits, self.weights.dtype))


class Perturbation:
    """Seeded directions, of independent numbers with mean 0 and variance 1, for a set of named parameters.

    parameters: (name, tensor) pairs. A tensor's stream depends on its own name alone, so training fewer
        tensors (ElasticZO) draws the same directions for those that remain.
    seed: the root seed of the run.
    queries: directions per step, at most: their number parts those of one step from those of another.
    noise, kernel: one of `NOISES` and of `KERNELS`; the kernel changes the time of a sweep and nothing else.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        seed: int,
        queries: int = 1,
        noise: Noise = "gaussian",
        kernel: KernelName = "auto",
    ) -> None:
        check_noise(noise, kernel)
        self._draw_from(streams_for(parameters, seed, noise, kernel), queries)

    @classmethod
    def of(cls, streams: dict[nn.Parameter, Stream], queries: int) -> Perturbation:
        """One whose directions are those of `streams`."""
        made = cls.__new__(cls)
        made._draw_from(streams, queries)
        return made

    def _draw_from(self, streams: dict[nn.Parameter, Stream], queries: int) -> None:
        self.streams, self.queries = streams, queries
        self._shared_out = shared_out(self.streams.values())
        together = fused_together(self.streams.values())
        self._fused = [fused_sweep(streams) for streams in together]
        self._apart = [stream for stream in self.streams.values() if not any(stream in streams for streams in together)]

    def add_(self, scale: float, step: int, query: int = 0, stochastically: bool = False) -> None:
        """Add `scale` × z(step, query) to the parameters in place."""
        self.add_all_([Move(scale, step, query)], stochastically)

    def add_all_(self, moves: Iterable[Move], stochastically: bool = False) -> None:
        """Add `moves` to the parameters in place, one after the other: in a single pass where it is compiled."""
        self.add_counted_([(scale, self.counter(step, query)) for scale, step, query in moves], stochastically)

    def add_counted_(self, counted: Sequence[tuple[float, int]], stochastically: bool = False) -> None:
        """The same for scales and the numbers of directions among those of all steps: see `counter`."""
        if not counted:
            return
        threads = threads_for(self._shared_out)
        share_out((work for fused in self._fused for work in fused.work(counted, stochastically)), threads)
        for move in counted if self._apart else ():
            works = (work for stream in self._apart for work in stream.work(stream.weights, *move, stochastically))
            share_out(works, threads)

    def write(self, parameter: nn.Parameter, target: torch.Tensor, scale: float, step: int, query: int = 0) -> None:
        """Write `parameter` + `scale` × z(step, query) to the flat `target`, rounded to the nearest."""
        stream = self.streams[parameter]
        share_out(stream.work(target, scale, self.counter(step, query)), threads_for(shared_out([stream])))

    def sweep(self, change: Callable[[Piece], object], step: int, queries: Sequence[int] = (0,)) -> None:
        """Let `change` see all weights piece by piece, each with its part of the directions z(step, query).

        For what no sum `weights + scale × z` is: a function of several directions, or of the weights or a state too.
        No more than a piece of each direction ever exists.
        """
        for parameter in self.streams:
            self.sweep_one(parameter, change, step, queries)

    def sweep_one(
        self, parameter: nn.Parameter, change: Callable[[Piece], object], step: int, queries: Sequence[int] = (0,)
    ) -> None:
        """The same for the weights of one tensor."""
        stream = self.streams[parameter]
        draws = [stream.draws(self.counter(step, query)) for query in queries]
        rounding = stream.rounding(self.counter(step, queries[0]))
        for number, weights in enumerate(stream.weights.split(PIECE)):
            place = slice(number * PIECE, number * PIECE + len(weights))
            # Without names, so that the numbers are gone before those of the next piece are drawn.
            change(Piece(parameter, place, weights, [next(draw) for draw in draws], rounding))

    def counter(self, step: int, query: int) -> int:
        """The number of a direction among those of all steps."""
        return step * self.queries + query

    def state(self) -> list[float]:
        """What directions depend on beside the weights at rest, the seed and the step: mostly nothing."""
        return [stream.state() for stream in self.streams.values() if isinstance(stream, HasState)]

    def load_state(self, state: list[float]) -> None:
        with_state = [stream for stream in self.streams.values() if isinstance(stream, HasState)]
        for stream, of_stream in zip(with_state, state, strict=True):
            stream.load_state(of_stream)


def shared_out(streams: Collection[Stream]) -> int:
    """How many numbers of `streams` are to be shared out among threads: none where one device does it all."""
    of_cpu = all(stream.weights.device.type == "cpu" for stream in streams)
    return sum(len(stream.weights) for stream in streams if stream.shared_out) if of_cpu else 0


def fused_together(streams: Iterable[Stream]) -> list[list[CounterStream]]:
    """Those of `streams` that a compiled sweep moves, by the type of their weights."""
    by_type: dict[torch.dtype, list[CounterStream]] = {}
    for stream in streams:
        if isinstance(stream, CounterStream) and stream.kernel is None:
            by_type.setdefault(stream.weights.dtype, []).append(stream)
    return list(by_type.values())


def check_noise(noise: str, kernel: str) -> None:
    """Raise ValueError for a name that is none, and for a kernel of a stream that has only PyTorch's."""
    if noise not in NOISES:
        raise ValueError(f"noise={noise!r} is not a stream; choose {', '.join(NOISES)}")
    if kernel not in KERNELS:
        raise ValueError(f"kernel={kernel!r} is not a kernel; choose {', '.join(KERNELS)}")
    if noise == "torch_gaussian" and kernel not in ("auto", "portable"):
        raise ValueError(
            f"kernel={kernel!r} but noise='torch_gaussian' is drawn by PyTorch alone; choose kernel=auto, or "
            f"noise={' or '.join(TABLES)}"
        )
