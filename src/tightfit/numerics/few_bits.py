"""Numbers in a few bits: codes packed into bytes, and two ways to make codes of blocks of numbers.

Signed numbers go to the nearest of the levels of a dynamic exponent (Dettmers, 2016), times the largest magnitude of
their block. Numbers from 0 go to a logarithmic scale from the largest of their block down (SOLO, arXiv 2505.00347).
Shapes: k blocks, b numbers in each, n = k b.
"""

from __future__ import annotations

import math

import torch

MAGNITUDES = (0.0055, 0.0325, 0.0775, 0.2125, 0.4375, 0.6625, 0.8875)
LEVELS = {
    2: (-0.55, 0.0, 0.55, 1.0),
    4: (*(-magnitude for magnitude in reversed(MAGNITUDES)), 0.0, *MAGNITUDES, 1.0),
}
SMALLEST = 1e-12  # largest number of a block of zeros, as SOLO has it
MOST_RATIO = 0.99  # of a level to the one above: at 1 all levels of a block would be one


def packed(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """`codes` (n,), each below 2**bits, side by side in bytes (⌈n bits / 8⌉,)."""
    per_byte = 8 // bits
    whole = torch.zeros(-(-len(codes) // per_byte) * per_byte, dtype=torch.uint8, device=codes.device)
    whole[: len(codes)] = codes
    return whole.view(-1, per_byte).bitwise_left_shift_(shifts(bits, codes)).sum(dim=1, dtype=torch.uint8)


def unpacked(held: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """The first `count` codes (n,) of those that `packed` put into `held`."""
    return (held.unsqueeze(1) >> shifts(bits, held)).bitwise_and_(2**bits - 1).view(-1)[:count]


def shifts(bits: int, like: torch.Tensor) -> torch.Tensor:
    return torch.arange(0, 8, bits, dtype=torch.uint8, device=like.device)


def signed_codes(values: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest level of each of `values` (k, b), and the largest magnitude of each block (k,)."""
    largest = values.abs().amax(dim=1)
    levels = levels_of(bits, values)
    borders = (levels[1:] + levels[:-1]) / 2
    return torch.bucketize(values / largest.clamp_min(SMALLEST)[:, None], borders, out_int32=True), largest


def signed_values(codes: torch.Tensor, largest: torch.Tensor, bits: int) -> torch.Tensor:
    """What `signed_codes` stand for, (k, b)."""
    return levels_of(bits, largest)[codes.int()].mul_(largest[:, None])


def levels_of(bits: int, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(LEVELS[bits], dtype=like.dtype, device=like.device)


def log_codes(
    values: torch.Tensor, bits: int, quantile: float, floor: float, uniform: torch.Tensor, unbiased: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """How many levels below the largest of its block each of `values` (k, b), from 0, lies; the largest (k,); and the
    ratio of a level to the one above (k,).

    The lowest level is the `quantile` of a block over its largest, and at least `floor`. uniform: (k, b) in [0, 1).
    unbiased: to one of the two neighbouring levels so that the mean is the number, where it is within the levels;
    else to the nearest in the logarithm, after noise of one step there, which is too large in the mean.
    """
    top = 2**bits - 1
    largest = values.amax(dim=1).clamp_min_(SMALLEST)
    shares = values / largest[:, None]
    lowest = of_rank(shares, quantile).clamp_min_(floor)
    ratio = lowest.pow_(1 / top).clamp_max_(MOST_RATIO)
    steps = shares.clamp_min(floor / 2).log_().div_(ratio.log()[:, None])  # 0: the largest; a floor: log 0 is infinite
    if not unbiased:
        return steps.add_(uniform).sub_(0.5).round_().clamp_(0, top), largest, ratio
    above = steps.floor_().clamp_(0, top - 1)
    upper = ratio[:, None] ** above
    # With this probability one further down: (upper − share) / (upper − lower).
    down = shares.sub_(upper).neg_().div_(upper.mul_((1 - ratio)[:, None]))
    return above.add_(uniform < down), largest, ratio


def log_values(codes: torch.Tensor, largest: torch.Tensor, ratio: torch.Tensor) -> torch.Tensor:
    """What `log_codes` stand for, (k, b)."""
    return (ratio[:, None] ** codes).mul_(largest[:, None])


def of_rank(values: torch.Tensor, quantile: float) -> torch.Tensor:
    """The `quantile` of each row (k,) as `torch.quantile` has it, which takes no more than 16 million numbers."""
    place = quantile * (values.shape[1] - 1)
    lower, upper = (values.kthvalue(1 + round(rank), dim=1).values for rank in (math.floor(place), math.ceil(place)))
    return lower.lerp_(upper, place - math.floor(place))
