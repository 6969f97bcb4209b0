"""FOAM: Adam whose moments are kept folded, one number for a block of neighbours (2025, arXiv 2512.07112).

The last axis of a tensor is cut into blocks of 2^level. Folded means A(·) are kept of the gradient and of its squares;
a step spreads them over their blocks, and adds to each what the gradient itself has beside the mean of its block:

    r = g − spread A(g);  m ← β1 m + (1 − β1) A(g);  v ← β2 v + (1 − β2) A(g²)
    w ← w − lr · alpha · (spread m + residual · r) / (√(spread v + residual² · r²) + eps)

with Adam's corrections for a start at 0. r fades with no mean, so the first steps are shorter than Adam's.

The paper has A(g)² where the published code has A(g²), which of white noise is 2^level times as large:
`second_moment`. Three things of the code are otherwise here. A block that the axis does not fill is divided by how many
weights it has, where the code averages padded zeros in; eps is added after the correction of v, as PyTorch's Adam has
it, so that level 0 is Adam; there is no weight decay. Vectors, embeddings and heads are stepped by Adam, as there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch.nn import functional as F

from tightfit.numerics.noise.flat import flat
from tightfit.numerics.noise.rounding import within
from tightfit.optimizers.rules.per_tensor import Moment, State, WithMoments, in_pieces
from tightfit.optimizers.schedules import check_each

SecondMoment = Literal["mean_of_squares", "square_of_mean"]
MOST_LEVEL = 30


@dataclass(frozen=True)
class FOAM(WithMoments):
    """level: a block has 2^level weights; alpha: rate of folded tensors, in units of the rate; residual: the weight of
    what a gradient has beside the mean of its block."""

    level: int = 2
    alpha: float = 0.25
    residual: float = 1.0
    second_moment: SecondMoment = "square_of_mean"

    kind = "foam"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.level, bool) or self.level not in range(MOST_LEVEL + 1):
            raise ValueError(f"rule.level={self.level} is no whole number from 0 to {MOST_LEVEL}; choose one")
        for name in ("alpha", "residual"):
            check_each(f"rule.{name}", getattr(self, name), lambda share: 0 <= share < math.inf, "finite and from 0")
        if self.second_moment not in get_args(SecondMoment):
            raise ValueError(
                f"rule.second_moment={self.second_moment!r} is not kept; choose mean_of_squares or square_of_mean"
            )

    def serves(self, shape: tuple[int, ...]) -> bool:
        return len(shape) > 1

    def bytes_of(self, shape: tuple[int, ...], element: int) -> int:
        """Two numbers for each block."""
        return 2 * element * math.prod(shape[:-1]) * self.blocks_of(shape[-1])

    def blocks_of(self, width: int) -> int:
        return -(-width // 2**self.level)

    def started(self, weight: torch.Tensor, gradient: torch.Tensor) -> State:
        count = weight.numel() // weight.shape[-1] * self.blocks_of(weight.shape[-1])
        return {moment: gradient.new_zeros(count) for moment in ("mean", "square")}

    def step_tensor_(self, weight: torch.Tensor, gradient: torch.Tensor, state: State, moment: Moment) -> None:
        width = weight.shape[-1]
        blocks = self.blocks_of(width)
        beside = ((state[kept], blocks) for kept in ("mean", "square"))
        for w, g, m, v in in_pieces(width, (flat(weight), width), (flat(gradient), width), *beside):
            self.step_rows_(w.view(-1, width), g.view(-1, width), m.view(-1, blocks), v.view(-1, blocks), moment)

    def step_rows_(self, w: torch.Tensor, g: torch.Tensor, m: torch.Tensor, v: torch.Tensor, moment: Moment) -> None:
        """w, g: (rows, width); m, v: (rows, blocks)."""
        folded = self.folded(g)
        squares = self.folded(g * g) if self.second_moment == "mean_of_squares" else folded * folded
        m.lerp_(folded, 1 - self.beta1)
        v.lerp_(squares, 1 - self.beta2)
        r = g.sub_(self.spread(folded, g.shape[1])).mul_(self.residual)
        root = self.spread(v, g.shape[1]).addcmul_(r, r).sqrt_()
        root.div_(math.sqrt(1 - self.beta2**moment.step)).add_(self.eps)
        move = r.add_(self.spread(m, g.shape[1]))
        w.addcdiv_(move, root, value=within(-moment.lr * self.alpha / (1 - self.beta1**moment.step), w.dtype))

    def folded(self, values: torch.Tensor) -> torch.Tensor:
        """The mean of each block, (rows, blocks) of (rows, width)."""
        width, size = values.shape[1], 2**self.level
        last = width - (self.blocks_of(width) - 1) * size  # weights in the last block
        sums = F.pad(values, (0, size - last)).view(len(values), -1, size).sum(dim=2)
        sums[:, :-1] /= size
        sums[:, -1] /= last
        return sums

    def spread(self, means: torch.Tensor, width: int) -> torch.Tensor:
        """Each mean for all weights of its block, (rows, width) of (rows, blocks)."""
        size = min(2**self.level, width)
        return means.repeat_interleave(size, dim=1)[:, :width]
