"""The logarithms of `loss` for a whole batch as one compiled sweep. Needs numba (extra `fast`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import boolean, int8, int64, njit, types


@njit(inline="always")
def _shifted(integer: Any, places: Any) -> Any:
    return integer << places if places >= 0 else integer >> -places


@njit(
    types.UniTuple(int64, 3)(
        int8[:, :, ::1], int64[::1], int64[::1], int64, int64, boolean, int64, int64, int64[::1], int64[::1]
    ),
    nogil=True,
    cache=True,
)
def sum_logarithms(
    logits: Any,
    places: Any,
    labels: Any,
    factor: Any,
    factor_places: Any,
    share_top: Any,
    window: Any,
    least: Any,
    terms: Any,
    thresholds: Any,
) -> Any:
    """As `loss._logarithms`, of `logits` (2, b, c) that are shifted by two numbers of `places`."""
    sums, tops = np.zeros(2, np.int64), np.int64(0)
    _, examples, classes = logits.shape
    powers, top = np.empty((2, classes), np.int64), np.empty(2, np.int64)
    for example in range(examples):
        for end in range(2):
            values, moved = logits[end, example], places[end]
            own = _shifted(np.int64(values[labels[example]]), moved)
            for k in range(classes):
                powers[end, k] = _shifted((_shifted(np.int64(values[k]), moved) - own) * factor, factor_places)
            top[end] = powers[end].max()
        if share_top:
            top[:] = top.max()
        for end in range(2):
            total = np.int64(0)
            for k in range(classes):
                total += terms[max(powers[end, k] - top[end] + window, 0)]
            sums[end] += np.searchsorted(thresholds, max(total, least), side="right")
            tops += top[end]
    return sums[0], sums[1], tops
