"""Seeded perturbation of weights, in place, with the direction regenerated instead of stored.

The direction z of a step is a pure function of (root seed, tensor name, step, query). It is drawn a few
thousand numbers at a time, added and forgotten: no copy of a tensor's size ever exists, and the piece stays
in the processor's cache between being drawn and being added.

`gaussian` is PyTorch's generator: the same on any CPU and thread count for the fixed piece, but another stream on
CUDA. `rademacher` and `gaussian_fast` are counter-based (`counter_noise`): the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import torch
from torch import nn

from tightfit.numerics.noise.counter_noise import (
    MANTISSA_BITS,
    TABLES,
    Kernel,
    noise_at,
    portable_work,
    reference_work,
    rounded_stochastically,
    rounding_bits,
)
from tightfit.numerics.noise.flat import flat
from tightfit.numerics.noise.rounding import within
from tightfit.numerics.threads import Work, share_out, threads_for
from tightfit.records.machine import has_numba, has_triton
from tightfit.seeds import derive, permute32, permute64

Noise = Literal["gaussian", "rademacher", "gaussian_fast"]
# How a counter-based stream is added: `reference` holds all of z, `portable` is PyTorch's operators on pieces, `fused`
# one compiled sweep (numba, or Triton on CUDA); `auto` is fused where it can be had. All give the same bits.
KernelName = Literal["auto", "reference", "portable", "fused"]
NOISES, KERNELS = ("gaussian", *TABLES), ("auto", "reference", "portable", "fused")

SUMMED_IN_FLOAT32 = (torch.float32, torch.bfloat16, torch.float16)

# Elements drawn at once. A multiple of 16, because PyTorch's CPU generator draws normals sixteen at a time:
# other pieces would give other numbers.
PIECE = 16384


class Stream(Protocol):
    """The directions of one tensor: z(counter) for every counter."""

    weights: torch.Tensor  # flat, as they are at rest or where the last sweep in place left them
    shared_out: bool  # whether its work is to be, among threads: PyTorch's operators on large pieces do it themselves

    def draws(self, counter: int) -> Iterator[torch.Tensor]:
        """The numbers of z(counter), `PIECE` by `PIECE`."""
        ...

    def work(self, target: torch.Tensor, scale: float, counter: int, stochastically: bool = False) -> list[Work]:
        """What, done in any order, writes weights + `scale` × z(counter) to the flat `target`: it may be the weights.

        Sums are rounded to the nearest; or, for 16-bit weights and if asked, up or down by chance, so that a change
        too small for them is kept on average. The chances are a function of the counter too.
        """
        ...


@dataclass(frozen=True)
class Piece:
    """A few thousand weights in a row, and the numbers of some directions that belong to them."""

    parameter: nn.Parameter
    place: slice  # among the flat weights of the parameter
    weights: torch.Tensor  # (n,), in place
    directions: list[torch.Tensor]  # (n,) each


class NormalStream:
    """Standard normal numbers for the tensor called `name`, by PyTorch's generator."""

    shared_out = True

    def __init__(self, name: str, weights: torch.Tensor, seed: int) -> None:
        self.weights = flat(weights)
        self._pieces = self.weights.split(PIECE)
        self._key = derive(seed, "perturbation", name)
        self._rounding = derive(seed, "rounding", name)
        self._generator = torch.Generator(device=weights.device)

    def work(self, target: torch.Tensor, scale: float, counter: int, stochastically: bool = False) -> list[Work]:
        return [partial(self._write, target, scale, counter, stochastically)]  # a generator draws in one order only

    def _write(self, target: torch.Tensor, scale: float, counter: int, stochastically: bool) -> None:
        self._generator.manual_seed(permute32(counter, self._key))
        targets = self._pieces if target is self.weights else target.split(PIECE)
        rounding = (self._rounding, permute64(counter, self._rounding))
        for number, (piece, after) in enumerate(zip(self._pieces, targets, strict=True)):
            if stochastically and piece.dtype in MANTISSA_BITS:
                bits = rounding_bits(number * PIECE, len(piece), rounding, piece.device)
                total = piece.float().add_(self._draw(piece).float(), alpha=within(scale, torch.float32))
                after.copy_(rounded_stochastically(total, bits, piece.dtype))
            else:  # the noise has no name, so that it is gone before that of the next piece is drawn
                torch.add(piece, self._draw(piece), alpha=within(scale, piece.dtype), out=after)

    def draws(self, counter: int) -> Iterator[torch.Tensor]:
        generator = torch.Generator(self.weights.device).manual_seed(permute32(counter, self._key))
        for piece in self._pieces:
            yield torch.empty_like(piece).normal_(generator=generator)

    def _draw(self, piece: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(piece).normal_(generator=self._generator)


class CounterStream:
    """Numbers of `noise`, a key of `TABLES`, for the tensor called `name`."""

    def __init__(self, name: str, weights: torch.Tensor, seed: int, noise: str, kernel: str) -> None:
        if weights.dtype not in SUMMED_IN_FLOAT32:
            raise ValueError(
                f"noise={noise!r} but {name} is {weights.dtype}; choose noise=gaussian, or weights of float32, "
                "bfloat16 or float16"
            )
        self.weights = flat(weights)
        self._table = TABLES[noise].to(weights.device)
        self._words, self._counters = derive(seed, noise, "words", name), derive(seed, noise, "counters", name)
        self._rounding = derive(seed, "rounding", name)
        self._kernel = choose_kernel(kernel, weights, width=self._table.shape[1])
        self.shared_out = self._kernel not in (reference_work, portable_work)

    def draws(self, counter: int) -> Iterator[torch.Tensor]:
        key = (self._words, permute64(counter, self._counters))
        for start in range(0, len(self.weights), PIECE):
            yield noise_at(slice(start, min(start + PIECE, len(self.weights))), self._table, key)

    def work(self, target: torch.Tensor, scale: float, counter: int, stochastically: bool = False) -> list[Work]:
        place = permute64(counter, self._counters)
        rounding = (self._rounding, place) if stochastically and target.dtype in MANTISSA_BITS else None
        # Scaled once, not number by number: each weight then sees a single rounding on every kernel.
        return self._kernel(self.weights, target, self._table * scale, (self._words, place), rounding)


class Perturbation:
    """Seeded directions, of independent numbers with mean 0 and variance 1, for a set of named parameters.

    parameters: (name, tensor) pairs. A tensor's stream depends on its own name alone, so training fewer
        tensors (ElasticZO) draws the same directions for those that remain.
    seed: the root seed of the run.
    queries: directions per step.
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
        self.streams: dict[nn.Parameter, Stream] = {
            parameter: NormalStream(name, parameter.data, seed)
            if noise == "gaussian"
            else CounterStream(name, parameter.data, seed, noise, kernel)
            for name, parameter in parameters
        }
        self.queries = queries

    def add_(self, scale: float, step: int, query: int = 0, stochastically: bool = False) -> None:
        """Add `scale` × z(step, query) to the parameters in place."""
        streams, counter = self.streams.values(), self.counter(step, query)
        share_out(
            (work for stream in streams for work in stream.work(stream.weights, scale, counter, stochastically)),
            threads_for([stream.weights for stream in streams if stream.shared_out]),
        )

    def write(self, parameter: nn.Parameter, target: torch.Tensor, scale: float, step: int, query: int = 0) -> None:
        """Write `parameter` + `scale` × z(step, query) to the flat `target`, rounded to the nearest."""
        stream = self.streams[parameter]
        threads = threads_for([target] if stream.shared_out else [])
        share_out(stream.work(target, scale, self.counter(step, query)), threads)

    def sweep(self, change: Callable[[Piece], object], step: int, queries: Sequence[int] = (0,)) -> None:
        """Let `change` see all weights piece by piece, each with its part of the directions z(step, query).

        For what no sum `weights + scale × z` is: a function of several directions, or of the weights or a state too.
        No more than a piece of each direction ever exists.
        """
        for parameter, stream in self.streams.items():
            draws = [stream.draws(self.counter(step, query)) for query in queries]
            for number, (weights, *directions) in enumerate(zip(stream.weights.split(PIECE), *draws, strict=True)):
                start = number * PIECE
                change(Piece(parameter, slice(start, start + len(weights)), weights, directions))

    def counter(self, step: int, query: int) -> int:
        """The number of a direction among those of all steps."""
        return step * self.queries + query


def check_noise(noise: str, kernel: str) -> None:
    """Raise ValueError for a name that is none, and for a kernel of a stream that has only PyTorch's."""
    if noise not in NOISES:
        raise ValueError(f"noise={noise!r} is not a stream; choose {', '.join(NOISES)}")
    if kernel not in KERNELS:
        raise ValueError(f"kernel={kernel!r} is not a kernel; choose {', '.join(KERNELS)}")
    if noise == "gaussian" and kernel not in ("auto", "portable"):
        raise ValueError(
            f"kernel={kernel!r} but noise='gaussian' is drawn by PyTorch alone; choose kernel=auto, or "
            "noise=rademacher or gaussian_fast"
        )


def choose_kernel(kernel: str, weights: torch.Tensor, width: int) -> Kernel:
    """The kernel of that name, ready to run on `weights`; for `auto` the fused one on the CPU where it can be had.

    On CUDA the fused kernel was held to the reference by Triton's interpreter and never ran: it is for who asks for it.
    Raises ValueError when `fused` is asked for but cannot be had.
    """
    if kernel in ("reference", "portable"):
        return reference_work if kernel == "reference" else portable_work
    obstacle = obstacle_to_fusing(weights)
    if kernel == "fused" and obstacle is not None:
        raise ValueError(f"kernel='fused' but {obstacle}, or choose kernel=auto")
    if kernel == "fused" or (obstacle is None and weights.device.type == "cpu"):
        return fused_kernel(weights, width)
    return portable_work


def fused_kernel(weights: torch.Tensor, width: int) -> Kernel:
    """The compiled kernel for the device of `weights`; the compilers are optional, so imported only here."""
    if weights.device.type == "cuda":
        from tightfit.numerics.noise.triton_noise import triton_work

        return triton_work
    from tightfit.numerics.noise.fused_noise import compile_kernels, fused_work

    compile_kernels(weights.dtype, width)
    return fused_work


def obstacle_to_fusing(weights: torch.Tensor) -> str | None:
    """What keeps `weights` from being perturbed by a compiled kernel, with its remedy."""
    if weights.device.type not in ("cpu", "cuda"):
        return f"the weights are on {weights.device}; use the cpu or cuda"
    if weights.device.type == "cpu" and not has_numba():
        return "numba is not installed; pip install 'tightfit[fast]'"
    if weights.device.type == "cuda" and not has_triton():
        return "triton is not installed; pip install triton"
    return None
