"""8-bit Adam: moments in codes of 8 bits, by the levels and the rounding of torchao (Dettmers et al., 2022).

A baseline. The codes are torchao's, of the extra `quantised`: levels of a dynamic exponent, times the largest magnitude
of each block, and the nearest of them. A step is that of its `Adam8bit`, in pieces. Its own optimizer compiles each
step, which takes a compiler and half a minute, and keeps its codes in tensors of a class that cannot be counted.
As there, tensors of fewer than 4,096 numbers, or not of whole blocks, are stepped by Adam: with
blocks of 256 that is all of LeNet-5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

import torch

from tightfit.numerics.noise.flat import flat
from tightfit.numerics.noise.rounding import within
from tightfit.optimizers.rules.per_tensor import FLOAT32_BYTES, Moment, State, WithMoments, in_pieces
from tightfit.optimizers.rules.rule import Named, Stepper

LEAST = 4096
MOMENTS = ("mean", "square")


@dataclass(frozen=True)
class Adam8bit(WithMoments):
    """block: how many numbers are multiplied by one."""

    block: int = 256
    by_adam: str = field(default="", kw_only=True)

    kind = "adam_8bit"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.block, bool) or not isinstance(self.block, int) or self.block < 1:
            raise ValueError(f"rule.block={self.block} is no number of numbers; choose a whole number from 1")

    def begin(self, parameters: Named, seed: int) -> Stepper:
        """Raises ValueError where torchao is not installed."""
        codes()
        return super().begin(parameters, seed)

    def serves(self, shape: tuple[int, ...]) -> bool:
        count = math.prod(shape)
        return count >= LEAST and count % self.block == 0

    def bytes_of(self, shape: tuple[int, ...], element: int) -> int:
        """Of each moment a byte for a number, and a number for a block."""
        del element  # codes, and what a block is multiplied by, are of sizes of their own
        count = math.prod(shape)
        return 2 * (count + FLOAT32_BYTES * (count // self.block))

    def started(self, weight: torch.Tensor, gradient: torch.Tensor) -> State:
        """Each code stands for a number times the largest of its block, which is 0."""
        count, device = weight.numel(), weight.device
        kept = {name: torch.zeros(count, dtype=torch.uint8, device=device) for name in MOMENTS}
        return kept | {f"{name}_largest": torch.zeros(count // self.block, device=device) for name in MOMENTS}

    def step_tensor_(self, weight: torch.Tensor, gradient: torch.Tensor, state: State, moment: Moment) -> None:
        beside = [(kept, 1 if name.endswith("largest") else self.block) for name, kept in state.items()]
        for w, g, *kept in in_pieces(self.block, (flat(weight), self.block), (flat(gradient), self.block), *beside):
            self.step_blocks_(w, g.float(), dict(zip(state, kept, strict=True)), moment)

    def step_blocks_(self, w: torch.Tensor, g: torch.Tensor, kept: State, moment: Moment) -> None:
        """w, g: (n,)."""
        mean = read(kept, "mean").lerp_(g, 1 - self.beta1)
        square = read(kept, "square").lerp_(g.square(), 1 - self.beta2)
        write_(kept, "mean", mean, self.block)
        write_(kept, "square", square, self.block)
        root = square.sqrt_().div_(math.sqrt(1 - self.beta2**moment.step)).add_(self.eps)
        size = -moment.lr / (1 - self.beta1**moment.step)
        w.add_(mean.div_(root).to(w.dtype), alpha=within(size, w.dtype))


def read(kept: State, name: str) -> torch.Tensor:
    """The moment called `name`, (n,)."""
    return codes().dequant_with_qmap(kept[name], levels(name, kept[name].device), kept[f"{name}_largest"])


def write_(kept: State, name: str, values: torch.Tensor, block: int) -> None:
    scaled, largest = codes().scale_tensor(values, block)
    kept[name].copy_(codes().quantize_8bit_with_qmap(scaled, levels(name, values.device)))
    kept[f"{name}_largest"].copy_(largest)


def levels(name: str, device: torch.device) -> torch.Tensor:
    """What codes stand for, (256,): of both signs for the first moment."""
    return torch.tensor(level_list(name == "mean"), device=device)


@cache
def level_list(signed: bool) -> list[float]:
    return codes().create_dynamic_map(signed=signed)


@cache
def codes() -> Any:
    """What torchao makes codes with. Raises ValueError, saying how to get it, where it is not installed."""
    try:
        return import_module("torchao.optim.quant_utils")
    except ImportError as error:
        raise ValueError(
            f"rule=adam_8bit needs torchao ({error}); install it with pip install 'tightfit[quantised]', or choose "
            "rule=adam or solo"
        ) from None
