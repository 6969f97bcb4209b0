"""Numbers of integer training: int8 values that share a power-of-two exponent (NITI, Wang et al., 2022).

A product of two such tensors is an int32 accumulator; it returns to int8 by a right shift just large enough for its
largest magnitude. Rounding works on sign and magnitude: a floor would drag every weight towards minus infinity.
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import torch

from tightfit.numerics.maxima import max_of_slices
from tightfit.records.machine import has_numba

compiled: ModuleType | None = None
if has_numba():  # without it eager operators do the same in more time
    from tightfit.numerics.int8 import compiled_sweeps as compiled

LARGEST = 127  # −128 is not used, so that every number has its negative
MAGNITUDE_BITS = 7
PIECE_BYTES = 2**16  # rounded at once: the intermediate steps would outgrow the weights


def compiled_for(tensor: torch.Tensor) -> ModuleType | None:
    """Compiled sweeps for `tensor`, or None where eager operators must do: here and nowhere else this is decided."""
    return compiled if compiled is not None and compiled.serves(tensor) else None


class Number(NamedTuple):
    """values × 2**exponent. values: int8; exponent: int32 without dimensions, a tensor so that no step waits for it."""

    values: torch.Tensor
    exponent: torch.Tensor

    def float(self) -> torch.Tensor:
        """The real numbers, as float32."""
        return torch.ldexp(self.values.float(), self.exponent)

    def relu(self) -> Number:
        return self._replace(values=self.values.clamp(min=0))

    def pooled(self) -> Number:
        """The maxima of 2×2 windows with stride 2."""
        return self._replace(values=max_of_slices(self.values))

    def rounded(self) -> Number:
        return self


class Accumulator(NamedTuple):
    """values × 2**(exponent − shift), still to be rounded to int8; values: int32, or float32 for compiled sweeps.

    Rounding and clipping keep the order of numbers. So maxima may be taken before: pooling leaves a quarter to be
    rounded; and ReLU is a clip like that to ±127. The shift is fixed from the start, also by what pooling drops.
    """

    values: torch.Tensor
    exponent: torch.Tensor  # of the number that it will be
    shift: torch.Tensor | int
    least: int = -LARGEST

    def relu(self) -> Accumulator:
        return self._replace(least=0)

    def pooled(self) -> Number:
        """The maxima of 2×2 windows with stride 2, rounded."""
        if sweeps := compiled_for(self.values):
            return Number(sweeps.rounded_maxima(self.values, self.shift, self.least, LARGEST), self.exponent)
        return self._replace(values=max_of_slices(self.values)).rounded()

    def rounded(self) -> Number:
        """The nearest number; the accumulator is used up."""
        if sweeps := compiled_for(self.values):
            return Number(sweeps.rounded(self.values, self.shift, self.least, LARGEST), self.exponent)
        values = nearest_shift_(self.values, torch.as_tensor(self.shift)).clamp_(self.least, LARGEST)
        return Number(values.to(torch.int8), self.exponent)


def bit_width(integers: torch.Tensor) -> torch.Tensor:
    """⌈log2 max|x|⌉ as int32 without dimensions; 0 when no magnitude exceeds 1."""
    if sweeps := compiled_for(integers):
        return torch.tensor(sweeps.bit_width(integers), dtype=torch.int32)
    low, high = integers.amin(), integers.amax()  # aminmax would copy accumulators that lie in another order
    largest = torch.maximum(-low.to(torch.int64), high.to(torch.int64))
    powers = torch.bitwise_left_shift(1, torch.arange(32, device=integers.device))
    return (largest > powers).sum().to(torch.int32)


def nearest_shift_(integers: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """int32 `integers` become x / 2**shift in place, rounded to the nearest, halves away from zero."""
    half = torch.bitwise_left_shift(1, shift.to(torch.int32)) >> 1
    # A negative number needs half − 1, since >> rounds down; nothing when the shift is 0.
    less = integers.bitwise_right_shift(31).bitwise_and_(half.clamp(max=1))
    return integers.add_(half).sub_(less).bitwise_right_shift_(shift)


def pseudo_stochastic_shift(integers: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """X / 2**shift, rounded up in magnitude when the upper half of the discarded bits exceeds the lower half.

    The low bits serve as the random number, so none is drawn. With an odd shift the lower half is a bit shorter and
    is doubled, so a shift of 1 always rounds up. Numbers keep their type, int8 or wider.
    """
    magnitude = integers.abs()
    quotient = magnitude >> shift
    discarded = magnitude - (quotient << shift)
    half_bits = shift // 2
    upper = discarded >> half_bits
    lower = (discarded - (upper << half_bits)) << (shift % 2)
    round_up = (upper > lower).view(torch.int8)
    return quotient.add_(round_up).mul_(integers.sign())


def to_int8(integers: torch.Tensor) -> torch.Tensor:
    """`integers` clipped to ±127, where NITI lets 128 wrap to −128."""
    return integers.clamp(-LARGEST, LARGEST).to(torch.int8)


def requantize(accumulator: torch.Tensor, exponent: torch.Tensor) -> Accumulator:
    """Accumulator × 2**exponent on its way to int8; accumulators that fit will be kept as they are.

    accumulator: whole numbers, int32 or float32.
    """
    shift: torch.Tensor | int
    if sweeps := compiled_for(accumulator):
        shift = max(sweeps.bit_width(accumulator) - MAGNITUDE_BITS, 0)
    else:
        accumulator = accumulator.to(torch.int32)
        shift = (bit_width(accumulator) - MAGNITUDE_BITS).clamp(min=0)
    return Accumulator(accumulator, exponent + shift, shift)


def update_of(gradient: torch.Tensor, bits: int) -> torch.Tensor:
    """`gradient` as an int8 update of about `bits` bits: its sign and relative size are kept, its scale is not.

    A gradient whose largest magnitude is 0 or 1 gives no update (NITI's range estimate calls both zero bits).
    """
    width = bit_width(gradient)
    shift = (width - bits).clamp(min=0)
    if sweeps := compiled_for(gradient):
        return sweeps.update_of(gradient, shift, LARGEST if width > 0 else 0)
    update = torch.empty(gradient.shape, dtype=torch.int8, device=gradient.device)
    few = PIECE_BYTES // gradient.element_size()
    for piece, rounded in zip(gradient.reshape(-1).split(few), update.view(-1).split(few), strict=True):
        rounded.copy_(to_int8(pseudo_stochastic_shift(piece, shift)))
    return update.mul_((width > 0).to(torch.int8))


def clipped_add_(weights: torch.Tensor, change: torch.Tensor, scale: int = 1, limit: int = LARGEST) -> None:
    """Add scale × `change` to int8 `weights` in place, clipped to ±`limit`."""
    if sweeps := compiled_for(weights):
        sweeps.add_(weights, change, scale, limit)
    else:
        moved = weights.to(torch.int16).add_(change.to(torch.int16), alpha=scale)
        weights.copy_(moved.clamp_(-limit, limit))
