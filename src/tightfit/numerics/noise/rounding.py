"""Whether a perturbation survives the rounding of the weights it is added to.

A sum is rounded to the type of the weights: a move below half the distance to the next number is lost. That distance is
at most 2⁻²³ of the weight itself in float32, 2⁻¹⁰ in float16 and 2⁻⁷ in bfloat16. To a weight of 0.1 a move of 1e-3 is
two steps of bfloat16, and a move of 1e-5 is nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from tightfit.numerics.noise.flat import flat

SAMPLED = 512  # elements of each tensor: few, for the sample must not be the peak of a small model
LEAST_SHARE = 0.01


def within(scale: float, dtype: torch.dtype) -> float:
    """`scale`, or infinity where `dtype` has no number so large: PyTorch refuses it, but a loss should tell of it."""
    return scale if abs(scale) <= torch.finfo(dtype).max else scale * math.inf


def share_moved(tensors: Iterable[torch.Tensor], scale: float) -> float:
    """The share of the elements that change when `scale` times a normal number is added, from the first few hundred
    of each tensor."""
    generator = torch.Generator().manual_seed(0)
    moved, seen = 0.0, 0
    for tensor in tensors:
        sample = flat(tensor.detach())[:SAMPLED].cpu()
        noise = torch.empty_like(sample).normal_(generator=generator)
        moved += (torch.add(sample, noise, alpha=within(scale, sample.dtype)) != sample).float().mean().item() * len(
            sample
        )
        seen += len(sample)
    return moved / seen if seen else 1.0


def check_rounding(tensors: Iterable[torch.Tensor], eps: float) -> None:
    """Raise ValueError where a perturbation of `eps` leaves nearly all weights as they are: no slope would be seen."""
    tensors = list(tensors)
    share = share_moved(tensors, eps)
    if share < LEAST_SHARE:
        types = ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors}))
        raise ValueError(
            f"optimizer.eps={eps:g} changes {share:.1%} of the weights in {types}, the others round back; choose a "
            "larger eps, model.dtype=float32, or low-rank updates (adapter=lora), which are always in float32"
        )
