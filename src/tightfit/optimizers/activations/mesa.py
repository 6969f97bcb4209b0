"""Mesa: an exact forward pass, and copies of its activations in 8 bits for the backward pass (Pan et al., 2021).

Losses have the bits of plain backpropagation; gradients are those of activations rounded to one of 255 levels, up or
down by chance, so that they are kept on average. Nothing is computed again. Source: arXiv 2111.11124, and the public
code (ziplab/Mesa, custom_quant.py).

Here autograd's own hooks for saved tensors see every operator; the published code replaces a list of layers by CUDA
extensions. Where we differ, and why:
- The levels lie between the least and the largest number of the tensor itself. The published ones follow a running mean
  of both, head by head (`levels="running"`, here of whole tensors): a new extreme is then beyond them. It is clamped
  here at both ends; the public kernel clamps below alone, and above a code wraps round to a small one.
- One code more is for the least number itself, and numbers that only round to it come back above it. So zeros of ReLU,
  and no others, come back as zero: errors pass where they should.
- One copy serves all operators that keep the same numbers, while these are alive.

Kept as they are: parameters, integers and masks, what no error reaches (the inputs, the statistics of normalisation and
of fused attention) and one number a row.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.table import LayerRow, LayerTable, output_bytes
from tightfit.numerics.seeds import derive, permute32
from tightfit.optimizers.activations.activations import Keeper
from tightfit.optimizers.activations.while_alive import WhileAlive
from tightfit.optimizers.base import Batch
from tightfit.optimizers.phases import Phases
from tightfit.optimizers.schedules import check_each

PIECE = 2**16  # numbers rounded at once: what is needed beside the codes is a few of these
RANGE_BYTES = 8  # of a tensor: its lowest level, and how far the next one is
ABOVE = 2**-16  # of a step: where numbers come back that rounded to the least
STORED = {8: (torch.uint8, 0), 16: (torch.int16, 2**15)}  # by bits: the type of codes, and which of them is 0 in it


@dataclass(frozen=True)
class Mesa:
    """bits: of a code, 8 or 16; rounding: stochastic, or nearest; levels: between the extremes of a tensor itself (own)
    or of a running mean of them with `decay` (running), which the first step sets."""

    bits: int = 8
    rounding: Literal["stochastic", "nearest"] = "stochastic"
    levels: Literal["own", "running"] = "own"
    decay: float = 0.9

    kind = "mesa"
    forward_passes = 1

    def __post_init__(self) -> None:
        choices = {"bits": tuple(STORED), "rounding": ("stochastic", "nearest"), "levels": ("own", "running")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"activations.{name}={getattr(self, name)} is not known; choose {' or '.join(map(str, known))}"
                )
        check_each("activations.decay", self.decay, lambda decay: 0 <= decay < 1, "from 0 to less than 1")

    def memory(self, kept: Breakdown, table: LayerTable, batch_size: int) -> Breakdown:
        """A code for each number and a range for each tensor; beside them, as it was, the largest tensor."""
        made = [row for row in table.rows if row.outputs]
        whole = max((output_bytes((row,), batch_size) for row in made), default=0)
        ranges = RANGE_BYTES * len(made)
        codes = sum(self.code_bytes(row) * row.outputs for row in made) * batch_size
        running = ranges if self.levels == "running" else 0
        return replace(kept, activations=codes + ranges + whole, optimizer_state=kept.optimizer_state + running)

    def code_bytes(self, row: LayerRow) -> int:
        """Of one number that `row` makes."""
        return min(self.bits // 8, row.bytes_per_element)

    def prepare(self, model: nn.Module, phases: Phases, seed: int) -> Keeper:
        return Copying(self, model, derive(seed, "codes of activations"))


class Copying:
    """Keeps codes in place of activations."""

    def __init__(self, mesa: Mesa, model: nn.Module, key: int) -> None:
        self._mesa, self._model, self._key = mesa, model, key
        self._ranges: list[torch.Tensor] = []  # running ones, (2,) each, in the order of the tensors in a pass

    @contextmanager
    def around(self, batch: Batch) -> Generator[None]:
        # A function of the step alone, so that a run that resumes draws as if it had not stopped.
        draws = torch.Generator(batch.inputs.device).manual_seed(permute32(batch.step, self._key))
        copies = Copies(self._mesa, self._model, draws, self._ranges)
        with torch.autograd.graph.saved_tensors_hooks(copies.packed, unpacked):
            yield

    def state_dict(self) -> dict[str, Any]:
        return {"ranges": list(self._ranges)} if self._ranges else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = next(self._model.parameters()).device
        self._ranges = [extremes.to(device) for extremes in state.get("ranges", [])]


@dataclass(frozen=True, eq=False)
class Codes:
    """For each number of a tensor's memory x ≈ low + (code − 1 + ABOVE) · step, and x = low for the code 0.

    codes: (n,), from −zero on; low, step: () float32.
    """

    codes: torch.Tensor
    low: torch.Tensor
    step: torch.Tensor

    def decoded(self, size: Sequence[int], stride: Sequence[int], offset: int) -> torch.Tensor:
        """The numbers at these places, in float32."""
        zero = dict(STORED.values())[self.codes.dtype]
        values = self.codes.as_strided(size, stride, offset).float()
        return values.mul_(self.step).add_(self.low).add_(self.step, alpha=zero - 1 + ABOVE).clamp_min_(self.low)


@dataclass(frozen=True, eq=False)
class Packed:
    """A tensor in the memory that `codes` are of."""

    codes: Codes
    dtype: torch.dtype
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


class Copies:
    """What autograd is told to keep in one step."""

    def __init__(self, mesa: Mesa, model: nn.Module, draws: torch.Generator, ranges: list[torch.Tensor]) -> None:
        self._mesa, self._draws, self._ranges = mesa, draws, ranges
        self._parameters = {parameter.untyped_storage() for parameter in model.parameters()}
        self._shared: WhileAlive[Codes] = WhileAlive()
        self._made = 0

    @torch.no_grad()
    def packed(self, tensor: torch.Tensor) -> torch.Tensor | Packed:
        if not self._is_copied(tensor):
            return tensor.detach()  # without its history: autograd would hold that in a circle
        codes = self._shared(tensor, partial(self._codes_of, tensor.detach()))
        return Packed(codes, tensor.dtype, tensor.size(), tensor.stride(), int(tensor.storage_offset()))

    def _is_copied(self, tensor: torch.Tensor) -> bool:
        return (
            tensor.is_floating_point()
            and tensor.requires_grad
            and not tensor.is_leaf
            and tensor.dim() > 0
            and tensor.shape[-1] > 1
            and tensor.untyped_storage() not in self._parameters
        )

    def _codes_of(self, tensor: torch.Tensor) -> Codes:
        """Of all the memory that `tensor` is in, as autograd would keep it whole."""
        memory = tensor.as_strided((tensor.untyped_storage().nbytes() // tensor.element_size(),), (1,), 0)
        extremes = self._running(torch.stack(memory.aminmax()).float())
        return coded(memory, extremes, self._mesa.bits, self._draws if self._mesa.rounding == "stochastic" else None)

    def _running(self, extremes: torch.Tensor) -> torch.Tensor:
        """The range to code a tensor in whose own is `extremes`, (2,)."""
        if self._mesa.levels == "own":
            return extremes
        place, self._made = self._made, self._made + 1
        if place == len(self._ranges):
            self._ranges.append(extremes.clone())
        else:
            self._ranges[place].lerp_(extremes, 1 - self._mesa.decay)
        return self._ranges[place]


def coded(memory: torch.Tensor, extremes: torch.Tensor, bits: int, draws: torch.Generator | None) -> Codes:
    """`memory`, (n,), in levels from the first to the second of `extremes`, (2,) float32; what is beyond is clamped.

    Rounded up or down by chance, from `draws`; None: to the nearest.
    """
    dtype, zero = STORED[bits]
    most = 2**bits - 2  # steps between levels: of all codes one is for the lowest number itself
    low = extremes[0].clone()
    step = ((extremes[1] - low) / most).clamp_min_(torch.finfo(torch.float32).tiny)
    codes = torch.empty_like(memory, dtype=dtype)
    for piece, into in zip(memory.split(PIECE), codes.split(PIECE), strict=True):
        levels = (piece.float() - low).div_(step)
        up = 0.5 if draws is None else torch.rand(levels.shape, generator=draws, device=levels.device)
        into.copy_(levels.add_(up).floor_().clamp_(0, most).add_(piece > low).sub_(zero))
    return Codes(codes, low, step)


def unpacked(kept: torch.Tensor | Packed) -> torch.Tensor:
    """What was packed, as near as its codes say."""
    if isinstance(kept, torch.Tensor):
        return kept
    return kept.codes.decoded(kept.size, kept.stride, kept.offset).to(kept.dtype)
