"""2×2 maximum pooling, written twice because one way is fast forward and the other backward.

On a CPU the stock kernel takes over half of a LeNet-5 forward. The maximum of four strided slices is
bit-identical and several times faster, but its backward is slower than the stock one. So passes that keep
nothing for a backward (all zeroth-order passes, all evaluation) take the slices and the others the kernel;
no processor that was tried chooses otherwise (AVX2, AVX-512: a fifteenth of the stock kernel's time forward, 2.7 times
it with the backward). `make bench OPTIONS=--full` prints both.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tightfit.numerics.maxima import max_of_slices


class MaxPool2x2(nn.Module):
    """Maximum over 2×2 windows with stride 2."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        keeps_for_backward = torch.is_grad_enabled() and images.requires_grad
        if keeps_for_backward or images.is_cuda:
            return F.max_pool2d(images, 2)
        return max_of_slices(images)
