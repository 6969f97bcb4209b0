"""MoFaSGD: momentum kept as an SVD of rank r, and a step along its directions alone (2025, arXiv 2507.08091).

Of an m × n matrix with gradient G, U diag(σ) Vᵀ is kept, and moves as the best approximation of rank r of
β U diag(σ) Vᵀ + P(G), where P(G) = U Uᵀ G + G V Vᵀ − U Uᵀ G V Vᵀ is what of G lies in its tangent space. Both factors
come from QR of [U, G V] and of [V, Gᵀ U], and an SVD of 2r × 2r numbers. The weights move

    step=paper: by lr · U Vᵀ, all directions alike
    step=code:  by lr · (eta1 · U diag(min(1/σ, cap)) Vᵀ + eta2 · (I − U Uᵀ) G (I − V Vᵀ))

In the code a direction moves the farther the smaller its momentum, up to `cap`, so steps grow as gradients vanish. It
begins with an SVD of the weights, so that a first gradient of 0 moves them; here it is one of the first gradient, found
from a few random directions (Halko et al., 2011), for a whole SVD of each matrix takes as long as many steps.
Directions whose σ is at most `eps` of the largest are left out, where the code has a σ of its own size. The gradient
counts whole, not by 1 − β. Kernels of convolutions are matrices of their outputs; vectors, embeddings and heads are
stepped by Adam. Factors are held in single precision at least: in 16 bits they would not stay orthonormal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from tightfit.numerics.noise.flat import flat, matrix_shape
from tightfit.numerics.noise.rounding import within
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.per_tensor import FLOAT32_BYTES, Moment, PerTensor, State
from tightfit.optimizers.schedules import check_each, check_positive

SWEEPS = 4  # of a sketch through its matrix and back
Step = Literal["paper", "code"]


@dataclass(frozen=True)
class MoFaSGD(PerTensor):
    """rank: of the momentum, at most a side of the matrix; beta: what is left of it a step later; step, eta1, eta2,
    cap: see above; eps: of the largest singular value, the least that counts; adam_rate: of the tensors that Adam
    steps, in units of the rate."""

    rank: int = 8
    beta: float = 0.9
    step: Step = "paper"
    eta1: float = 1.0
    eta2: float = 0.0
    cap: float = 5.0
    eps: float = 1e-6
    adam_rate: float = 0.1

    kind = "mofasgd"
    adam = Adam()

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 1:
            raise ValueError(f"rule.rank={self.rank} but a momentum has at least one direction; choose 1 or more")
        if self.step not in get_args(Step):
            raise ValueError(f"rule.step={self.step!r} is no step; choose paper or code")
        check_each("rule.beta", self.beta, lambda decay: 0 <= decay < 1, "from 0 to less than 1")
        check_each("rule.eps", self.eps, lambda share: 0 <= share < 1, "from 0 to less than 1")
        check_positive("rule.cap", self.cap)
        for name in ("eta1", "eta2", "adam_rate"):
            check_each(f"rule.{name}", getattr(self, name), lambda share: 0 <= share < math.inf, "finite and from 0")

    def serves(self, shape: tuple[int, ...]) -> bool:
        return len(shape) > 1

    def bytes_of(self, shape: tuple[int, ...], element: int) -> int:
        """Two factors and the singular values: r (m + n + 1) numbers."""
        m, n = shape[0], math.prod(shape[1:])
        return max(element, FLOAT32_BYTES) * min(self.rank, m, n) * (m + n + 1)

    def started(self, weight: torch.Tensor, gradient: torch.Tensor) -> State:
        """An SVD of 0: no direction counts, and any gradient adds its own."""
        (m, n), dtype = matrix_shape(weight), torch.promote_types(weight.dtype, torch.float32)
        r = min(self.rank, m, n)
        return {
            name: torch.zeros(shape, dtype=dtype, device=weight.device)
            for name, shape in (("u", (m, r)), ("sigma", (r,)), ("v", (n, r)))
        }

    def step_tensor_(self, weight: torch.Tensor, gradient: torch.Tensor, state: State, moment: Moment) -> None:
        u, sigma, v = state["u"], state["sigma"], state["v"]  # (m, r), (r,), (n, r)
        w, g = (flat(tensor).view(matrix_shape(weight)) for tensor in (weight, gradient))
        g = g.to(u.dtype)
        if moment.step == 1:
            new = sketched_directions(g, len(sigma), moment.draws())
        else:
            new = directions_of_sum(u, self.beta * sigma, v, g)
        for kept, moved in zip((u, sigma, v), new, strict=True):
            kept.copy_(moved)
        del new
        counts = sigma > self.eps * sigma.amax()
        lengths = torch.where(counts, 1.0, 0.0)
        if self.step == "code":
            lengths = torch.where(counts, self.eta1 * sigma.reciprocal().clamp_max(self.cap), 0.0)
            if self.eta2:
                w.add_(beyond(g, u, v).to(w.dtype), alpha=within(-moment.lr * self.eta2, w.dtype))
        lengths = lengths + 0 * sigma  # a momentum that is not finite makes none of its directions 0
        w.addmm_((u * lengths).to(w.dtype), v.T.to(w.dtype), alpha=within(-moment.lr, w.dtype))


def directions_of_sum(
    u: torch.Tensor, sigma: torch.Tensor, v: torch.Tensor, g: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The first r directions of u diag(sigma) vᵀ + P(g), (m, r), (r,), (n, r): see the module."""
    r = len(sigma)
    along = g @ v  # (m, r)
    left, of_left = torch.linalg.qr(torch.cat([u, along], dim=1))
    right, of_right = torch.linalg.qr(torch.cat([v, g.T @ u], dim=1))
    middle = g.new_zeros(2 * r, 2 * r)
    middle[:r, :r] = torch.diag(sigma) - u.T @ along
    middle[:r, r:] = middle[r:, :r] = torch.eye(r, dtype=g.dtype, device=g.device)
    us, sigmas, vs = largest_directions(of_left @ middle @ of_right.T, r)
    return left @ us, sigmas, right @ vs


def largest_directions(matrix: torch.Tensor, r: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The first r directions of an SVD, (m, r), (r,), (n, r); of what is not finite, singular values that are not."""
    u, sigma, vh = torch.linalg.svd(matrix.nan_to_num(0.0, 0.0, 0.0), full_matrices=False)  # which refuses such
    return u[:, :r], sigma[:r] + 0 * matrix.sum(), vh[:r].T


def sketched_directions(
    matrix: torch.Tensor, r: int, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As `largest_directions`, nearly: exact where 2r is at least a side of `matrix`, or its rank."""
    columns = min(2 * r, *matrix.shape)
    basis = matrix.new_empty(matrix.shape[1], columns).normal_(generator=random)
    for _ in range(SWEEPS):
        basis = torch.linalg.qr(matrix.T @ torch.linalg.qr(matrix @ basis)[0])[0]
    basis = torch.linalg.qr(matrix @ basis)[0]
    u, sigma, v = largest_directions(basis.T @ matrix, r)
    return basis @ u, sigma, v


def beyond(g: torch.Tensor, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """(I − u uᵀ) g (I − v vᵀ), (m, n)."""
    rest = torch.addmm(g, u, u.T @ g, alpha=-1)
    return rest.addmm_(rest @ v, v.T, alpha=-1)
