"""SGC: Adam's moments of a few random projections of the gradient, from which a sparse step is recovered
(subspace gradient compression, 2025, arXiv 2502.00311).

A tensor is cut into chunks of d numbers. Of each the s largest of its gradient are projected, p = A g_s, by a k × d
matrix of independent normal numbers over √k; m and v are Adam's moments of p and p²; and the weights move along the
sparse vector that orthogonal matching pursuit finds for what Adam would step the projections by:

    u = m / (√v + eps) (k,);  w ← w − lr · OMP_s(A, u)

A is drawn from the seed at each step and kept by none. Of independent columns s can be recovered while k is at least
about 8 s.

No code is public, and what is known of the paper leaves open where the recovery stands. Adam's ratio of projections is
the projection of no sparse vector, so it is recovered badly (`second_moment=per_measurement`); divided by one number a
chunk, the mean of p², it stays one (`scalar`). With k = d the projection is the identity: then with s = d it is Adam.
Tensors of fewer numbers than a chunk are stepped by Adam. A last chunk that the tensor does not fill is filled up by 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch.nn import functional as F

from tightfit.numerics.matching_pursuit import matching_pursuit
from tightfit.numerics.noise.flat import flat
from tightfit.numerics.noise.rounding import within
from tightfit.optimizers.rules.per_tensor import FLOAT32_BYTES, Moment, State, WithMoments, in_pieces

SecondMoment = Literal["per_measurement", "scalar"]


@dataclass(frozen=True)
class SGC(WithMoments):
    """chunk: d, numbers of a tensor that are projected together; measurements: k, at most d; sparsity: s, at most k;
    second_moment: one for each measurement, or one for all of a chunk."""

    chunk: int = 512
    measurements: int = 128
    sparsity: int = 16
    second_moment: SecondMoment = "per_measurement"
    by_adam: str = field(default="", kw_only=True)

    kind = "sgc"

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = (1, self.sparsity, self.measurements, self.chunk)
        if not all(isinstance(size, int) for size in sizes) or list(sizes) != sorted(sizes):
            raise ValueError(
                f"rule.sparsity={self.sparsity}, rule.measurements={self.measurements}, rule.chunk={self.chunk} do not "
                "increase from 1: no more numbers can be recovered than are measured; choose such"
            )
        if self.second_moment not in get_args(SecondMoment):
            raise ValueError(f"rule.second_moment={self.second_moment!r} is not kept; choose per_measurement or scalar")

    @property
    def second_moments(self) -> int:
        """Of a chunk."""
        return 1 if self.second_moment == "scalar" else self.measurements

    def serves(self, shape: tuple[int, ...]) -> bool:
        return math.prod(shape) >= self.chunk

    def bytes_of(self, shape: tuple[int, ...], element: int) -> int:
        """Of each chunk k first moments, and as many second ones or one."""
        del element  # moments are held in single precision
        return FLOAT32_BYTES * -(-math.prod(shape) // self.chunk) * (self.measurements + self.second_moments)

    def started(self, weight: torch.Tensor, gradient: torch.Tensor) -> State:
        chunks = -(-weight.numel() // self.chunk)
        sizes = {"mean": chunks * self.measurements, "square": chunks * self.second_moments}
        return {name: torch.zeros(size, device=weight.device) for name, size in sizes.items()}

    def step_tensor_(self, weight: torch.Tensor, gradient: torch.Tensor, state: State, moment: Moment) -> None:
        projection = self.projection(moment, weight.device)
        beside = ((state["mean"], self.measurements), (state["square"], self.second_moments))
        for w, g, mean, square in in_pieces(
            self.chunk, (flat(weight), self.chunk), (flat(gradient), self.chunk), *beside
        ):
            whole = F.pad(g.float(), (0, -len(g) % self.chunk)).view(-1, self.chunk)
            step = self.step_of(
                projection, whole, mean.view(-1, self.measurements), square.view(-1, self.second_moments), moment.step
            )
            w.add_(step.view(-1)[: len(w)].to(w.dtype), alpha=within(-moment.lr, w.dtype))

    def projection(self, moment: Moment, device: torch.device) -> torch.Tensor:
        """A, (k, d): the same at each step and for all tensors."""
        if self.measurements == self.chunk:
            return torch.eye(self.chunk, device=device)
        random = moment.stream("projection")
        empty = torch.empty(self.measurements, self.chunk, device=device)
        return empty.normal_(generator=random).div_(math.sqrt(self.measurements))

    def step_of(
        self, projection: torch.Tensor, g: torch.Tensor, mean: torch.Tensor, square: torch.Tensor, step: int
    ) -> torch.Tensor:
        """What weights move along, (c, d), for their gradient g (c, d); mean (c, k) and square (c, k or 1) move too."""
        largest = g.abs().topk(self.sparsity, dim=1).indices
        measured = torch.zeros_like(g).scatter_(1, largest, g.gather(1, largest)) @ projection.T  # (c, k)
        mean.lerp_(measured, 1 - self.beta1)
        squares = measured.square_()
        square.lerp_(squares.mean(dim=1, keepdim=True) if self.second_moment == "scalar" else squares, 1 - self.beta2)
        root = square.sqrt().div_(math.sqrt(1 - self.beta2**step)).add_(self.eps)
        chosen, weights = matching_pursuit(projection, mean / root / (1 - self.beta1**step), self.sparsity)
        return torch.zeros_like(g).scatter_(1, chosen, weights)
