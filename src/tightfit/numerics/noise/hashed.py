"""The random words of `counter_noise.random_words` in compiled code. Needs numba (extra `fast`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tightfit.numerics.compiled import Array
from tightfit.numerics.seeds import SPLITMIX_MULTIPLIERS, SPLITMIX_SHIFTS

SHIFT_1, SHIFT_2, SHIFT_3 = (np.uint64(shift) for shift in SPLITMIX_SHIFTS)
MULTIPLIER_1, MULTIPLIER_2 = (np.uint64(multiplier) for multiplier in SPLITMIX_MULTIPLIERS)


@njit(nogil=True, cache=True)
def hash_words(words: Array, first: Any, low: np.uint64, high: np.uint64) -> None:
    """Fill `words` with those from number `first` on of the key (low, high)."""
    for index in range(words.size):
        words[index] = mix(mix(np.uint64(first + index) ^ low) + high)


@njit(inline="always")
def mix(x: np.uint64) -> np.uint64:
    x = (x ^ (x >> SHIFT_1)) * MULTIPLIER_1
    x = (x ^ (x >> SHIFT_2)) * MULTIPLIER_2
    return x ^ (x >> SHIFT_3)
