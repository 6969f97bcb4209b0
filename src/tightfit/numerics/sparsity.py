"""Which weights of a layer stay when it is pruned: the nearest point of a set of sparse ones is what is largest."""

from __future__ import annotations

import torch


def largest(numbers: torch.Tensor, count: int) -> torch.Tensor:
    """Where in each row of `numbers`, (r, n), the `count` largest sizes are, as bool: exactly so many, ties or not."""
    of_all = numbers.shape[1]
    few = 2 * count <= of_all  # of those that stay and those that go, the fewer are listed
    places = numbers.abs().topk(count if few else of_all - count, dim=1, largest=few).indices
    return torch.full_like(numbers, not few, dtype=torch.bool).scatter_(1, places, few)


def kept_of(weights: torch.Tensor, share: float, entries: int | None) -> torch.Tensor:
    """Which of the `weights` of a layer stay, in their shape, as bool.

    share: of all of them, at least one. entries: of each kernel of a convolution, (out, in, height, width), so many
    instead, which is its best pattern of that many entries; None: convolutions are as other layers.
    """
    if entries is not None and weights.dim() == 4:
        kernels = weights.flatten(0, 1).flatten(1)
        return largest(kernels, min(entries, kernels.shape[1])).view(weights.shape)
    count = max(1, round(share * weights.numel()))
    return largest(weights.reshape(1, -1), count).view(weights.shape)
