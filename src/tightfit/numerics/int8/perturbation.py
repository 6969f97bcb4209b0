"""Seeded sparse perturbation of int8 weights, in place, with the direction regenerated instead of stored.

z of a step is uniform in −r_max … r_max and zero with probability p_zero: a pure function of (root seed, tensor name,
step). One tensor's z exists at a time, a byte per weight. Source: ElasticZO, Alg. 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

from tightfit.numerics.int8.arithmetic import LARGEST, clipped_add_, compiled_for, update_of
from tightfit.seeds import derive, permute32

PIECE = 2**17  # elements drawn at once: their random bits and int32 intermediates take 7 bytes each
LEAST_INT64 = -(2**63)

# What becomes of weights that a perturbation would carry beyond ±127, where they are clipped.
# clip: as in Alg. 2, nothing more; a clipped weight is restored up to r_max away from where it was.
# headroom: weights at rest stay within ±(127 − r_max), so none is ever clipped and each is restored exactly.
Saturation = Literal["clip", "headroom"]


class Int8Perturbation:
    """Moves a set of named int8 parameters along seeded sparse directions."""

    def __init__(
        self, parameters: Iterable[tuple[str, nn.Parameter]], seed: int, r_max: int, saturation: Saturation
    ) -> None:
        self._streams = [
            (parameter.data, derive(seed, "perturbation", name), torch.Generator(device=parameter.device))
            for name, parameter in parameters
        ]
        self._r_max = r_max
        self._limit_at_rest = LARGEST - r_max if saturation == "headroom" else LARGEST
        for weights, _, _ in self._streams:
            weights.clamp_(-self._limit_at_rest, self._limit_at_rest)

    def add_(self, scale: int, step: int, p_zero: float) -> None:
        """Add `scale` × z(step) to the parameters, clipped to ±127."""
        for weights, key, generator in self._streams:
            if sweeps := compiled_for(weights):
                generator.manual_seed(permute32(step, key))
                for piece in weights.view(-1).split(PIECE):
                    random_bytes = bytes_for(piece, generator)
                    sweeps.add_spread_(piece, random_bytes, *shares(self._r_max, p_zero), scale, LARGEST)
            else:
                clipped_add_(weights, self._draw(weights, generator, permute32(step, key), p_zero), scale)

    def restore_and_update_(self, sign: int, bits: int, step: int, p_zero: float) -> None:
        """Add z(step), as after a pass at −z, and subtract `sign` × its update of `bits` bits; z is drawn once."""
        for weights, key, generator in self._streams:
            z = self._draw(weights, generator, permute32(step, key), p_zero)
            clipped_add_(weights, z)
            clipped_add_(weights, update_of(z, bits), -sign, self._limit_at_rest)

    def _draw(self, weights: torch.Tensor, generator: torch.Generator, seed: int, p_zero: float) -> torch.Tensor:
        """Z as int8 of the shape of `weights`."""
        generator.manual_seed(seed)
        z = torch.empty_like(weights, memory_format=torch.contiguous_format)
        for piece in z.view(-1).split(PIECE):
            draw_(piece, self._r_max, p_zero, generator)
        return z


def shares(r_max: int, p_zero: float) -> tuple[int, int]:
    """How many numbers there are in −r_max … r_max, and of 256 how many are made zero."""
    return 2 * r_max + 1, round(256 * p_zero)


def bytes_for(z: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random bytes, three and more for each of the numbers (n,)."""
    words = torch.empty(-(-3 * len(z) // 8), dtype=torch.int64, device=z.device)
    return words.random_(LEAST_INT64, None, generator=generator).view(torch.uint8)


def draw_(z: torch.Tensor, r_max: int, p_zero: float, generator: torch.Generator) -> None:
    """Fill int8 `z` (n,) with numbers uniform in −r_max … r_max, and zero with probability p_zero.

    Each takes two random bytes, so the shares of two numbers differ by up to 2**−16 but not those of a number and
    its negative; a third byte decides about zero, so p_zero is kept to 1/256.
    """
    count, random_bytes = len(z), bytes_for(z, generator)
    levels, zeros = shares(r_max, p_zero)
    if sweeps := compiled_for(z):
        sweeps.spread_(z, random_bytes, levels, zeros)
        return
    # The 2**16 odd numbers between ±2**16 lie evenly about zero; × levels / 2**17 they round to −r_max … r_max.
    odd = random_bytes[: 2 * count].view(torch.int16).to(torch.int32).mul_(2).add_(1)
    z.copy_(odd.mul_(levels).add_(2**16).bitwise_right_shift_(17))
    z.mul_((random_bytes[2 * count : 3 * count] >= zeros).view(torch.int8))


def check_steps(r_max: int, saturation: str) -> None:
    """Raise ValueError for values with which nothing would be learned."""
    if not 2 <= r_max <= LARGEST - 1:
        raise ValueError(f"r_max={r_max} but int8 steps are 2–126 (1 is rounded away by the update); choose 2–126")
    if saturation not in ("clip", "headroom"):
        raise ValueError(f"saturation={saturation!r} is not a treatment of full weights; choose clip or headroom")
