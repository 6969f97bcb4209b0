"""Numbers of integer training: int8 values that share a power-of-two exponent (NITI, Wang et al., 2022).

A product of two such tensors is an int32 accumulator; it returns to int8 by a right shift just large enough for its
largest magnitude. Rounding works on sign and magnitude: a floor would drag every weight towards minus infinity.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

LARGEST = 127  # −128 is not used, so that every number has its negative
MAGNITUDE_BITS = 7
PIECE = 16384  # elements rounded at once: the intermediate steps are int32 and would outgrow the weights


class Number(NamedTuple):
    """values × 2**exponent. values: int8; exponent: int32 without dimensions, a tensor so that no step waits for it."""

    values: torch.Tensor
    exponent: torch.Tensor

    def float(self) -> torch.Tensor:
        """The real numbers, as float32."""
        return torch.ldexp(self.values.float(), self.exponent)


def bit_width(integers: torch.Tensor) -> torch.Tensor:
    """⌈log2 max|x|⌉ as int32 without dimensions; 0 when no magnitude exceeds 1."""
    low, high = torch.aminmax(integers)
    largest = torch.maximum(-low.to(torch.int64), high.to(torch.int64))
    powers = torch.bitwise_left_shift(1, torch.arange(32, device=integers.device))
    return (largest > powers).sum().to(torch.int32)


def nearest_shift_(integers: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """int32 `integers` become x / 2**shift in place, rounded to the nearest, halves away from zero."""
    half = torch.bitwise_left_shift(1, shift.to(torch.int32)) >> 1
    # A negative number needs half − 1, since >> rounds down; nothing when the shift is 0.
    less = (integers < 0).to(torch.int8).mul_(half.clamp(max=1).to(torch.int8))
    return integers.add_(half).sub_(less).bitwise_right_shift_(shift)


def pseudo_stochastic_shift(integers: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """X / 2**shift in int32, rounded up in magnitude when the upper half of the discarded bits exceeds the lower half.

    The low bits serve as the random number, so none is drawn. With an odd shift the lower half is a bit shorter and
    is doubled, so a shift of 1 always rounds up.
    """
    magnitude = integers.to(torch.int32).abs()
    quotient = magnitude >> shift
    discarded = magnitude - (quotient << shift)
    half_bits = shift // 2
    upper = discarded >> half_bits
    lower = (discarded - (upper << half_bits)) << (shift % 2)
    return (quotient + (upper > lower)) * integers.sign()


def to_int8(integers: torch.Tensor) -> torch.Tensor:
    """`integers` clipped to ±127."""
    return integers.clamp(-LARGEST, LARGEST).to(torch.int8)


def requantize(accumulator: torch.Tensor, exponent: torch.Tensor) -> Number:
    """The int8 number nearest to accumulator × 2**exponent; the accumulator is used up.

    Accumulators that fit int8 are kept as they are.
    """
    shift = (bit_width(accumulator) - MAGNITUDE_BITS).clamp(min=0)
    values = nearest_shift_(accumulator, shift).clamp_(-LARGEST, LARGEST).to(torch.int8)
    return Number(values, exponent + shift)


def update_of(gradient: torch.Tensor, bits: int) -> torch.Tensor:
    """`gradient` as an int8 update of about `bits` bits: its sign and relative size are kept, its scale is not.

    A gradient whose largest magnitude is 0 or 1 gives no update (NITI's range estimate calls both zero bits).
    """
    width = bit_width(gradient)
    shift = (width - bits).clamp(min=0)
    update = torch.empty(gradient.shape, dtype=torch.int8, device=gradient.device)
    for piece, rounded in zip(gradient.reshape(-1).split(PIECE), update.view(-1).split(PIECE), strict=True):
        rounded.copy_(to_int8(pseudo_stochastic_shift(piece, shift) * (width > 0)))
    return update


def clipped_add_(weights: torch.Tensor, change: torch.Tensor, scale: int = 1, limit: int = LARGEST) -> None:
    """Add scale × `change` to int8 `weights` in place, clipped to ±`limit`."""
    moved = weights.to(torch.int16).add_(change.to(torch.int16), alpha=scale)
    weights.copy_(moved.clamp_(-limit, limit))
