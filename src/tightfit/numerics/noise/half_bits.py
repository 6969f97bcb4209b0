"""16-bit floating-point numbers as the integers of their bits, for compiled sweeps. Needs numba (extra `fast`).

NumPy has no bfloat16, and the compiler has no float16 on every processor; integers are the same everywhere. A bfloat16
is the upper half of a float32. A float16 has 13 bits of mantissa less than a float32 and an exponent less by 112; below
2⁻¹⁴ it counts in units of 2⁻²⁴. To round by chance is to add as many random bits as are cut off, see
`counter_noise.rounded_stochastically`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SIGN, MAGNITUDE, INFINITY = np.uint32(0x80000000), np.uint32(0x7FFFFFFF), np.uint32(0x7F800000)
ONE, HALF_BITS, JUST_BELOW_HALF = np.uint32(1), np.uint32(16), np.uint32(0x7FFF)

CUT_BITS, JUST_BELOW_HALF_OF_CUT = np.uint32(13), np.uint32(0xFFF)
REBIAS = np.uint32(112 << 23)  # of a float32's exponent field
SMALLEST_NORMAL, TOO_LARGE = np.uint32(113 << 23), np.uint32(143 << 23)  # 2⁻¹⁴ and 2¹⁶ as float32
SMALLEST_NORMAL_VALUE = np.float32(2**-14)
A_HALF, BITS_OF_A_HALF = np.float32(0.5), np.uint32(126 << 23)  # its last bit counts 2⁻²⁴
HALF_INFINITY, HALF_NAN = np.uint32(0x7C00), np.uint32(0x7E00)
UNITS, CHANCES = np.float32(2**24), np.float32(2**-13)


@njit(inline="always")
def bfloat16_value(bits: np.uint16) -> np.float32:
    return np.uint32(np.uint32(bits) << HALF_BITS).view(np.float32)


@njit(inline="always")
def bfloat16_nearest(total: np.float32) -> np.uint16:
    """Ties to even."""
    bits = np.float32(total).view(np.uint32)
    return np.uint16(np.uint32(bits + JUST_BELOW_HALF + ((bits >> HALF_BITS) & ONE)) >> HALF_BITS)


@njit(inline="always")
def bfloat16_by_chance(total: np.float32, chance: np.uint16) -> np.uint16:
    return np.uint16(np.uint32(np.float32(total).view(np.uint32) + np.uint32(chance)) >> HALF_BITS)


@njit(inline="always")
def float16_value(bits: np.uint16) -> np.float32:
    magnitude = np.uint32(np.uint32(bits & np.uint16(0x7FFF)) << CUT_BITS)
    small = np.float32(np.uint32(magnitude + SMALLEST_NORMAL).view(np.float32) - SMALLEST_NORMAL_VALUE)
    exponent_is_full = magnitude >= np.uint32(31 << 23)
    normal = np.uint32(magnitude + REBIAS + (REBIAS if exponent_is_full else np.uint32(0)))
    value = small.view(np.uint32) if magnitude < np.uint32(1 << 23) else normal
    return np.uint32(value | (np.uint32(bits >> np.uint16(15)) << np.uint32(31))).view(np.float32)


@njit(inline="always")
def float16_nearest(total: np.float32) -> np.uint16:
    """Ties to even."""
    magnitude = np.float32(total).view(np.uint32) & MAGNITUDE
    even = np.uint32((magnitude >> CUT_BITS) & ONE)
    normal = np.uint32(magnitude - REBIAS + JUST_BELOW_HALF_OF_CUT + even) >> CUT_BITS
    small = np.float32(np.abs(total) + A_HALF).view(np.uint32) - BITS_OF_A_HALF  # the sum is rounded to units
    return _float16(total, normal, small)


@njit(inline="always")
def float16_by_chance(total: np.float32, chance: np.uint16) -> np.uint16:
    magnitude = np.float32(total).view(np.uint32) & MAGNITUDE
    carry = np.uint32(chance) >> np.uint32(3)
    normal = np.uint32(magnitude - REBIAS + carry) >> CUT_BITS
    small = np.float32(np.float32(np.abs(total) * UNITS) + np.float32(np.float32(carry) * CHANCES))
    return _float16(total, normal, np.uint32(np.int32(small if magnitude < SMALLEST_NORMAL else np.float32(0))))


@njit(inline="always")
def _float16(total: np.float32, normal: np.uint32, small: np.uint32) -> np.uint16:
    """The rounded magnitude that applies to `total`, with its sign."""
    bits = np.float32(total).view(np.uint32)
    magnitude = bits & MAGNITUDE
    rounded = np.uint32(small) if magnitude < SMALLEST_NORMAL else np.uint32(normal)
    rounded = HALF_INFINITY if magnitude >= TOO_LARGE else rounded
    rounded = HALF_NAN if magnitude > INFINITY else rounded
    return np.uint16(rounded | np.uint32(np.uint32(bits & SIGN) >> HALF_BITS))
