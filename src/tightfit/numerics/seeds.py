"""One root seed, split by purpose: every random stream of a run has a name.

A stream is derived, never drawn from the global generator, so what a run computes depends neither on the
thread count nor on what else has drawn random numbers in the process.
"""

from __future__ import annotations

import hashlib

import torch

MASK32, MASK64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
SPLITMIX_SHIFTS, SPLITMIX_MULTIPLIERS = (30, 27, 31), (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def derive(root: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called `names` under the seed `root`."""
    path = "/".join([str(root), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest()) >> 1


def generator(root: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A private generator at the start of the stream called `names`."""
    return torch.Generator(device=device).manual_seed(derive(root, *names))


def permute32(counter: int, key: int) -> int:
    """The place of `counter` in a pseudo-random permutation of the 32-bit numbers chosen by `key`.

    PyTorch's CPU generator keeps only 32 bits of a seed, so hashed seeds would collide by the birthday
    bound after some 65,000 draws. A permutation cannot: distinct counters have distinct seeds.
    The mixing steps are those of MurmurHash3's finalizer, each of them invertible.
    """
    x = (counter ^ key) & MASK32
    x ^= x >> 16
    x = (x * 0x85EBCA6B) & MASK32
    x ^= x >> 13
    x = (x * 0xC2B2AE35) & MASK32
    x ^= x >> 16
    return x ^ ((key >> 32) & MASK32)


def permute64(counter: int, key: int) -> int:
    """The place of `counter` in a pseudo-random permutation of the 64-bit numbers chosen by `key`.

    The mixing steps are those of splitmix64 (Steele, Lea and Flood, 2014), each of them invertible.
    """
    x = (counter ^ key) & MASK64
    for shift, multiplier in zip(SPLITMIX_SHIFTS, SPLITMIX_MULTIPLIERS, strict=False):
        x = ((x ^ (x >> shift)) * multiplier) & MASK64
    return x ^ (x >> SPLITMIX_SHIFTS[-1])
