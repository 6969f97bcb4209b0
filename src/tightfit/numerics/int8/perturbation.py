"""Seeded sparse perturbation of int8 weights, in place, with the direction regenerated instead of stored.

z of a step is uniform in −r_max … r_max and zero with probability p_zero: a pure function of (root seed, tensor name,
step, place), counter-based (`noise.counter_noise`), so the bits are the same on every device. Compiled sweeps hold
none of it; eager operators hold one tensor's z, a byte per weight. Source: ElasticZO, Alg. 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

from tightfit.numerics.int8.arithmetic import LARGEST, clipped_add_, compiled_for, update_of
from tightfit.numerics.noise.counter_noise import Key, keys_for, random_bits

PIECE = 2**17  # elements drawn at once, of which several int32 exist meanwhile
PER_WORD, BITS = 2, 16  # numbers that a random word serves: half of its bits choose each, a half of these its value

# What becomes of weights that a perturbation would carry beyond ±127, where they are clipped.
# clip: as in Alg. 2, nothing more; a clipped weight is restored up to r_max away from where it was.
# headroom: weights at rest stay within ±(127 − r_max), so none is ever clipped and each is restored exactly.
Saturation = Literal["clip", "headroom"]


class Int8Perturbation:
    """Moves a set of named int8 parameters along seeded sparse directions."""

    def __init__(
        self, parameters: Iterable[tuple[str, nn.Parameter]], seed: int, r_max: int, saturation: Saturation
    ) -> None:
        self._tensors = [(parameter.data, keys_for(name, seed, "int8")) for name, parameter in parameters]
        self._r_max = r_max
        self._limit_at_rest = LARGEST - r_max if saturation == "headroom" else LARGEST
        for weights, _ in self._tensors:
            weights.clamp_(-self._limit_at_rest, self._limit_at_rest)

    def add_(self, scale: int, step: int, p_zero: float) -> None:
        """Add `scale` × z(step) to the parameters, clipped to ±127."""
        for weights, keys in self._tensors:
            if sweeps := compiled_for(weights):
                sweeps.add_direction_(weights, keys.of(step), *shares(self._r_max, p_zero), scale)
            else:
                clipped_add_(weights, direction(weights, self._r_max, p_zero, keys.of(step)), scale)

    def restore_and_update_(self, sign: int, bits: int, step: int, p_zero: float) -> None:
        """Add z(step), as after a pass at −z, and subtract `sign` × its update of `bits` bits."""
        for weights, keys in self._tensors:
            if sweeps := compiled_for(weights):
                given = shares(self._r_max, p_zero)
                sweeps.restore_and_update_(weights, keys.of(step), *given, sign, bits, self._limit_at_rest)
            else:
                z = direction(weights, self._r_max, p_zero, keys.of(step))
                clipped_add_(weights, z)
                clipped_add_(weights, update_of(z, bits), -sign, self._limit_at_rest)


def shares(r_max: int, p_zero: float) -> tuple[int, int]:
    """How many numbers there are in −r_max … r_max, and of 2**16 how many are made zero."""
    return 2 * r_max + 1, round(2**BITS * p_zero)


def direction(weights: torch.Tensor, r_max: int, p_zero: float, key: Key) -> torch.Tensor:
    """Numbers uniform in −r_max … r_max, and zero with probability p_zero: int8 of the shape of `weights`.

    The shares of two numbers differ by up to 2**−16, but not those of a number and its negative; p_zero is kept to
    1/65,536.
    """
    z = torch.empty_like(weights, memory_format=torch.contiguous_format)
    levels, zeros = shares(r_max, p_zero)
    for number, piece in enumerate(z.view(-1).split(PIECE)):
        places = slice(number * PIECE, number * PIECE + len(piece))
        fields = random_bits(places, PER_WORD, key, torch.int32, z.device)[: len(piece)]
        # The 2**16 odd numbers between ±2**16 lie evenly about zero; × levels / 2**17 they round to −r_max … r_max.
        odd = fields.bitwise_left_shift(BITS).bitwise_right_shift_(BITS).mul_(2).add_(1)
        piece.copy_(odd.mul_(levels).add_(2**BITS).bitwise_right_shift_(BITS + 1))
        piece.mul_((fields.bitwise_right_shift_(BITS).bitwise_and_(2**BITS - 1) >= zeros).view(torch.int8))
    return z


def check_steps(r_max: int, saturation: str) -> None:
    """Raise ValueError for values with which nothing would be learned."""
    if not 2 <= r_max <= LARGEST - 1:
        raise ValueError(f"r_max={r_max} but int8 steps are 2–126 (1 is rounded away by the update); choose 2–126")
    if saturation not in ("clip", "headroom"):
        raise ValueError(f"saturation={saturation!r} is not a treatment of full weights; choose clip or headroom")
