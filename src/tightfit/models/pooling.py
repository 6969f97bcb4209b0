"""2×2 maximum pooling, written twice because one way is fast forward and the other backward.

On a CPU the stock kernel takes over half of a LeNet-5 forward. The maximum of four strided slices is
bit-identical and several times faster, but its backward is slower than the stock one. So passes that keep
nothing for a backward (all zeroth-order passes, all evaluation) take the slices and the others the kernel;
`make bench` prints both.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def max_of_slices(images: torch.Tensor) -> torch.Tensor:
    """The 2×2 maxima of (b, c, h, w) as (b, c, h // 2, w // 2)."""
    height, width = images.shape[-2] // 2 * 2, images.shape[-1] // 2 * 2
    rows = torch.maximum(images[..., 0:height:2, :], images[..., 1:height:2, :])
    return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


class MaxPool2x2(nn.Module):
    """Maximum over 2×2 windows with stride 2."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        keeps_for_backward = torch.is_grad_enabled() and images.requires_grad
        if keeps_for_backward or images.is_cuda:
            return F.max_pool2d(images, 2)
        return max_of_slices(images)
