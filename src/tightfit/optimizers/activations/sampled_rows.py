"""A few rows of a matrix that stand for all of them in sums of products, by WTA-CRS (Liu et al., 2023).

Shapes: t rows, of which k are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Rows:
    """values: (k, in), of inputs, weighed; index: (k,) int64, which rows they are."""

    values: torch.Tensor
    index: torch.Tensor


def norms_of(rows: torch.Tensor) -> torch.Tensor:
    """The Euclidean norm of each row of (…, n), (t,) float32, more than zero: any row may be drawn."""
    norms = torch.linalg.vector_norm(rows.detach(), dim=-1, dtype=torch.float32).flatten()
    return norms.clamp_min_(torch.finfo(torch.float32).tiny)


@torch.no_grad()
def sampled(inputs: torch.Tensor, norms: torch.Tensor, kept: int, draws: torch.Generator) -> Rows:
    """`kept` of the t rows of inputs (…, in), by probabilities in proportion to `norms` (t,).

    Weighed so that Σ_k y[index_k] ⊗ values_k has the mean Σ_t y_t ⊗ x_t for every y that does not depend on the draws.
    """
    index, weights = winners_and_draws(norms, kept, draws)
    values = inputs.detach().flatten(0, -2).index_select(0, index)
    return Rows(values.mul_(weights.to(values.dtype)[:, None]), index)


def winners_and_draws(norms: torch.Tensor, kept: int, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of t rows are kept, (k,) int64, and the weight of each, (k,) float32: 1 for a winner.

    Of the rows in order the first j win, where the rest of the probability over the rest of the places,
    (1 − P_j) / (k − j), is least; the other places are drawn from the rest of the rows.
    """
    falling, order = norms.double().sort(descending=True, stable=True)  # sums of many small shares
    rest = falling.flip(0).cumsum(0).flip(0)  # (t,), of row i and all after it
    slots = torch.arange(kept, device=norms.device)
    spread = rest[:kept] / (kept - slots)
    won = spread.argmin()
    ranks = torch.arange(len(norms), device=norms.device)
    mass = falling.where(ranks >= won, 0).cumsum(0)  # (t,)
    at = torch.rand(kept, generator=draws, dtype=mass.dtype, device=norms.device) * mass[-1]
    drawn = torch.searchsorted(mass, at, right=True).clamp_(max=len(norms) - 1)
    wins = slots < won
    rank = slots.where(wins, drawn)
    weights = torch.ones_like(spread).where(wins, spread[won] / falling[rank])
    return order[rank], weights.float()
