"""The directions of one tensor, and how they are added to it.

`torch_gaussian` is PyTorch's generator: the same on any CPU and thread count for the fixed piece, but another stream on
CUDA. The others are counter-based (`counter_noise`): the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

from tightfit.numerics.noise.counter_noise import (
    MANTISSA_BITS,
    TABLES,
    Kernel,
    Key,
    keys_for,
    noise_at,
    portable_work,
    reference_work,
    rounded_stochastically,
    rounding_bits,
)
from tightfit.numerics.noise.flat import flat
from tightfit.numerics.noise.rounding import within
from tightfit.numerics.seeds import derive, permute32, permute64
from tightfit.numerics.threads import Work
from tightfit.records.machine import has_numba, has_triton

if TYPE_CHECKING:
    from tightfit.numerics.noise.fused_noise import FusedSweep

SUMMED_IN_FLOAT32 = (torch.float32, torch.bfloat16, torch.float16)

# Elements drawn at once. A multiple of 16, because PyTorch's CPU generator draws normals sixteen at a time:
# other pieces would give other numbers. A multiple of a word's numbers in every stream of counters.
PIECE = 16384


class Stream(Protocol):
    """The directions of one tensor: z(counter) for every counter."""

    weights: torch.Tensor  # flat, as they are at rest or where the last sweep in place left them
    shared_out: bool  # whether its work is to be, among threads: PyTorch's operators on large pieces do it themselves

    def draws(self, counter: int) -> Iterator[torch.Tensor]:
        """The numbers of z(counter), `PIECE` by `PIECE`."""
        ...

    def rounding(self, counter: int) -> Key:
        """Of the chances by which sums with z(counter) are rounded to 16 bits."""
        ...

    def work(self, target: torch.Tensor, scale: float, counter: int, stochastically: bool = False) -> list[Work]:
        """What, done in any order, writes weights + `scale` × z(counter) to the flat `target`: it may be the weights.

        Sums are rounded to the nearest; or, for 16-bit weights and if asked, up or down by chance, so that a change
        too small for them is kept on average. The chances are a function of the counter too.
        """
        ...


@runtime_checkable
class HasState(Protocol):
    """A stream whose numbers depend on more than the weights at rest, the seed and the counter."""

    def state(self) -> float: ...

    def load_state(self, state: float) -> None:
        """Draw from now on as the stream with that `state` does. The weights were replaced too."""
        ...


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
        rounding = self.rounding(counter)
        for number, (piece, after) in enumerate(zip(self._pieces, targets, strict=True)):
            if stochastically and piece.dtype in MANTISSA_BITS:
                bits = rounding_bits(number * PIECE, len(piece), rounding, piece.device)
                total = piece.float().add_(self._draw(piece).float(), alpha=within(scale, torch.float32))
                after.copy_(rounded_stochastically(total, bits, piece.dtype))
            else:  # the noise has no name, so that it is gone before that of the next piece is drawn
                torch.add(piece, self._draw(piece), alpha=within(scale, piece.dtype), out=after)

    def rounding(self, counter: int) -> Key:
        return self._rounding, permute64(counter, self._rounding)

    def draws(self, counter: int) -> Iterator[torch.Tensor]:
        generator = torch.Generator(self.weights.device).manual_seed(permute32(counter, self._key))
        for piece in self._pieces:
            yield torch.empty_like(piece).normal_(generator=generator)

    def _draw(self, piece: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(piece).normal_(generator=self._generator)


class CounterStream:
    """Numbers of `noise`, a key of `TABLES`, for the tensor called `name`. table: that of the noise, on its device."""

    def __init__(
        self, name: str, weights: torch.Tensor, seed: int, noise: str, kernel: str, table: torch.Tensor
    ) -> None:
        if weights.dtype not in SUMMED_IN_FLOAT32:
            raise ValueError(
                f"noise={noise!r} but {name} is {weights.dtype}; choose noise=torch_gaussian, or weights of float32, "
                "bfloat16 or float16"
            )
        self.weights = flat(weights)
        self.noise, self.keys = noise, keys_for(name, seed, noise)
        self.table = table
        self.kernel = choose_kernel(kernel, weights)
        self.shared_out = self.kernel not in (reference_work, portable_work)

    def draws(self, counter: int) -> Iterator[torch.Tensor]:
        for number, piece in enumerate(self.weights.split(PIECE)):
            yield self._drawn(number * PIECE, len(piece), counter)

    def _drawn(self, first: int, count: int, counter: int) -> torch.Tensor:
        """`count` numbers of z(counter) from place `first` on, float32."""
        if self.kernel is not None:
            return noise_at(slice(first, first + count), self.table, self.keys.of(counter))
        from tightfit.numerics.noise.fused_noise import draw_  # optional, so imported only here

        numbers = torch.empty(count, dtype=torch.float32, device=self.weights.device)
        draw_(numbers, first, self.keys, self.noise, counter)
        return numbers

    def rounding(self, counter: int) -> Key:
        return self.keys.of_rounding(counter)

    def work(self, target: torch.Tensor, scale: float, counter: int, stochastically: bool = False) -> list[Work]:
        if self.kernel is None:
            return self._alone.work([(scale, counter)], stochastically, target)
        rounding = self.keys.of_rounding(counter) if stochastically and target.dtype in MANTISSA_BITS else None
        scale = within(scale, torch.float32)
        return self.kernel(self.weights, target, self.table, scale, self.keys.of(counter), rounding)

    @cached_property
    def _alone(self) -> FusedSweep:
        return fused_sweep([self])


def streams_for(
    parameters: Iterable[tuple[str, torch.nn.Parameter]], seed: int, noise: str, kernel: str
) -> dict[torch.nn.Parameter, Stream]:
    """A stream for each of the named `parameters`; those on one device share its table."""
    if noise == "torch_gaussian":
        return {parameter: NormalStream(name, parameter.data, seed) for name, parameter in parameters}
    return {**counter_streams_for(parameters, seed, noise, kernel)}


def counter_streams_for(
    parameters: Iterable[tuple[str, torch.nn.Parameter]], seed: int, noise: str, kernel: str = "auto"
) -> dict[torch.nn.Parameter, CounterStream]:
    tables: dict[torch.device, torch.Tensor] = {}
    streams: dict[torch.nn.Parameter, CounterStream] = {}
    for name, parameter in parameters:
        device = parameter.device
        table = tables[device] if device in tables else tables.setdefault(device, TABLES[noise].to(device))
        streams[parameter] = CounterStream(name, parameter.data, seed, noise, kernel, table)
    return streams


def choose_kernel(kernel: str, weights: torch.Tensor) -> Kernel | None:
    """The kernel of that name, ready to run on `weights`; None for `fused_sweep`, which takes many tensors at once.

    Raises ValueError when `fused` is asked for but cannot be had.
    """
    chosen = kernel_on(kernel, weights.device)
    if chosen != "fused":
        return reference_work if chosen == "reference" else portable_work
    if weights.device.type == "cpu":
        return None
    from tightfit.numerics.noise.triton_noise import triton_work  # optional, so imported only here

    return triton_work


def kernel_on(kernel: str, device: torch.device) -> str:
    """What `kernel` stands for on `device`: for `auto` the fused one where it can be had, else the portable one.

    Raises ValueError when `fused` is asked for but cannot be had.
    """
    if kernel in ("reference", "portable"):
        return kernel
    obstacle = obstacle_to_fusing(device)
    if obstacle is not None and kernel == "fused":
        raise ValueError(f"kernel='fused' but {obstacle}, or choose kernel=auto")
    return "fused" if obstacle is None else "portable"


def fused_sweep(streams: list[CounterStream]) -> FusedSweep:
    """One compiled sweep for all of `streams`, whose weights are of one type; the compiler is optional, so imported
    only here."""
    from tightfit.numerics.noise.fused_noise import FusedSweep

    return FusedSweep([(stream.weights, stream.keys) for stream in streams], streams[0].noise)


def obstacle_to_fusing(device: torch.device) -> str | None:
    """What keeps weights on `device` from being perturbed by a compiled kernel, with its remedy."""
    if device.type not in ("cpu", "cuda"):
        return f"the weights are on {device}; use the cpu or cuda"
    if device.type == "cpu" and not has_numba():
        return "numba is not installed; pip install 'tightfit[fast]'"
    if device.type == "cuda" and not has_triton():
        return "triton is not installed; pip install triton"
    return None
