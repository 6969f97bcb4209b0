"""SOLO: Adam whose moments are kept in 2 or 4 bits (2025, arXiv 2505.00347).

A step is Adam's, by moments in full precision; then both are stored in codes, from which the next step begins:

    m̂ = β1 m + (1 − β1) g;  v̂ = β2 v + (1 − β2) g²;  w ← w − lr · Adam(m̂, v̂);  m, v ← codes of m̂, v̂

Codes of m are levels of a dynamic exponent, those of v are steps down a logarithmic scale from the largest number of
their block to its lowest decile. A block is the largest divisor, up to 128, of how many numbers the tensor has.

Paper and code round v to the nearest level in the logarithm after noise of one step there, which makes it too large in
the mean: `rounding=published`. Unbiased rounding is the default here. A decile of 0, of weights with no gradient, would
make one level of all of them: `floor` is the least that the lowest level may be of the largest. Their 3 bits are kept
in 4, and are not here. β1 must shrink with the bits of m: the authors have 0.8 for 4, and 2 want about 0.5. Codes are
drawn from a stream of their own, so that a run resumes bit for bit. Tensors of fewer than 128 numbers, or without a
block of at least 32, are stepped by Adam. Both moments in 32 bits are Adam.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, get_args

import torch

from tightfit.numerics.few_bits import log_codes, log_values, packed, signed_codes, signed_values, unpacked
from tightfit.numerics.noise.flat import flat
from tightfit.numerics.noise.rounding import within
from tightfit.optimizers.rules.per_tensor import FLOAT32_BYTES, Moment, State, WithMoments, in_pieces
from tightfit.optimizers.schedules import check_each

Rounding = Literal["unbiased", "published"]
BITS = (2, 4, 32)
BLOCK, LEAST_BLOCK = 128, 32
WHOLE = 4  # numbers, of which codes of 2 and of 4 bits fill whole bytes


@dataclass(frozen=True)
class SOLO(WithMoments):
    """bits_m, bits_v: of a number of either moment, 2, 4 or 32; rounding: of the second; floor: the least that its
    lowest level may be of the largest number of a block; quantile: of a block, its lowest level."""

    bits_m: int = 4
    bits_v: int = 2
    rounding: Rounding = "unbiased"
    floor: float = 1e-3
    quantile: float = 0.1
    beta1: float = field(default=0.8, kw_only=True)
    by_adam: str = field(default="", kw_only=True)  # embeddings are kept in codes too

    kind = "solo"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("bits_m", "bits_v"):
            if getattr(self, name) not in BITS:
                raise ValueError(f"rule.{name}={getattr(self, name)} has no codes; choose 2, 4 or 32")
        if self.rounding not in get_args(Rounding):
            raise ValueError(f"rule.rounding={self.rounding!r} is no way to round; choose unbiased or published")
        check_each("rule.floor", self.floor, lambda share: 0 < share < 1, "between 0 and 1")
        check_each("rule.quantile", self.quantile, lambda share: 0 <= share < 1, "from 0 to less than 1")

    def serves(self, shape: tuple[int, ...]) -> bool:
        count = math.prod(shape)
        return count >= BLOCK and block_of(count) >= LEAST_BLOCK

    def bytes_of(self, shape: tuple[int, ...], element: int) -> int:
        """Codes in whole bytes, and for each block one number beside those of m and two beside those of v."""
        del element  # codes, and what a block is multiplied by, are of sizes of their own
        count = math.prod(shape)
        per_block = (self.bits_m < 32) + 2 * (self.bits_v < 32)
        codes = sum(-(-count * bits // 8) for bits in (self.bits_m, self.bits_v))
        return codes + FLOAT32_BYTES * per_block * (count // block_of(count))

    def started(self, weight: torch.Tensor, gradient: torch.Tensor) -> State:
        count = weight.numel()
        blocks = count // block_of(count)

        def zeros(length: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.zeros(length, dtype=dtype, device=weight.device)

        def moment(bits: int, name: str, *of_blocks: str) -> State:
            if bits == 32:
                return {name: zeros(count)}
            return {name: zeros(-(-count * bits // 8), torch.uint8), **{beside: zeros(blocks) for beside in of_blocks}}

        return {
            **moment(self.bits_m, "mean", "mean_largest"),
            **moment(self.bits_v, "square", "square_largest", "square_ratio"),
        }

    def step_tensor_(self, weight: torch.Tensor, gradient: torch.Tensor, state: State, moment: Moment) -> None:
        block = block_of(weight.numel())
        unit = math.lcm(block, WHOLE)
        random = moment.draws()
        beside = self.kept_by_unit(state, unit, block)
        for w, g, *kept in in_pieces(unit, (flat(weight), unit), (flat(gradient), unit), *beside):
            self.step_blocks_(w, g.view(-1, block).float(), dict(zip(state, kept, strict=True)), moment, random)

    def kept_by_unit(self, state: State, unit: int, block: int) -> Iterator[tuple[torch.Tensor, int]]:
        """What is kept of a tensor, each with how many of its elements belong to `unit` weights."""
        for name, kept in state.items():
            bits = {"mean": self.bits_m, "square": self.bits_v}.get(name)
            yield kept, unit // block if bits is None else unit if bits == 32 else unit * bits // 8

    def step_blocks_(
        self, w: torch.Tensor, g: torch.Tensor, kept: State, moment: Moment, random: torch.Generator
    ) -> None:
        """w: (n,); g: (k, b)."""
        mean = self.mean(kept, g).lerp_(g, 1 - self.beta1)
        square = self.square(kept, g).mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)
        root = square.sqrt().div_(math.sqrt(1 - self.beta2**moment.step)).add_(self.eps)
        size = -moment.lr / (1 - self.beta1**moment.step)
        w.add_(root.reciprocal_().mul_(mean).view(-1).to(w.dtype), alpha=within(size, w.dtype))
        if self.bits_m < 32:
            codes, largest = signed_codes(mean, self.bits_m)
            kept["mean"].copy_(packed(codes.view(-1).to(torch.uint8), self.bits_m))
            kept["mean_largest"].copy_(largest)
        if self.bits_v < 32:
            uniform, unbiased = torch.empty_like(g).uniform_(generator=random), self.rounding == "unbiased"
            codes, largest, ratio = log_codes(square, self.bits_v, self.quantile, self.floor, uniform, unbiased)
            kept["square"].copy_(packed(codes.view(-1).to(torch.uint8), self.bits_v))
            kept["square_largest"].copy_(largest)
            kept["square_ratio"].copy_(ratio)

    def mean(self, kept: State, g: torch.Tensor) -> torch.Tensor:
        """What is kept of the first moment, (k, b)."""
        if self.bits_m == 32:
            return kept["mean"].view_as(g)
        codes = unpacked(kept["mean"], self.bits_m, g.numel()).view_as(g)
        return signed_values(codes, kept["mean_largest"], self.bits_m)

    def square(self, kept: State, g: torch.Tensor) -> torch.Tensor:
        if self.bits_v == 32:
            return kept["square"].view_as(g)
        codes = unpacked(kept["square"], self.bits_v, g.numel()).view_as(g)
        return log_values(codes, kept["square_largest"], kept["square_ratio"])


@cache
def block_of(count: int) -> int:
    """The largest divisor of `count` up to 128."""
    return max(size for size in range(1, BLOCK + 1) if count % size == 0)
