"""Cross-entropy without floating point: its gradient at int8 logits, its value, and the sign of a difference of two.

Powers of e become powers of two (e**x = 2**(x log2 e)) whose exponents are kept to `fraction_bits` binary places;
0 is the form of ElasticZO, eq. 9–12, and a few bits bring the sign close to that of exact arithmetic.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import count

import numpy as np
import torch

from tightfit.numerics.int8.arithmetic import LARGEST, Number, compiled_for
from tightfit.numerics.noise.counter_noise import Key, rounding_bits

LOG2_E, LOG2_E_BITS = 47274, 15  # log2 e ≈ 47274 / 2**15
WINDOW = 10  # terms 2**10 times smaller than the largest are dropped …
WINDOW_PER_FRACTION_BIT = 4  # … and a finer comparison, which they could still decide, looks further
GRADIENT_BITS, ROUNDED_BITS = 11, 4
MOST_SHIFT = 16  # keeps int64 from overflowing; a logit moved further decides the result anyway
LARGEST_RIGHT_SHIFT = 62  # after which only the sign is left
SMALLEST_POWER = -7  # logits below this exponent are so small that e**x ≈ 1 + x + x²/2


def shifted(integers: torch.Tensor, places: int) -> torch.Tensor:
    """Integers × 2**places rounded down; `places` beyond ±62 or so are bounded."""
    places = bounded(places)
    return integers << places if places >= 0 else integers >> -places


def bounded(places: int) -> int:
    return max(-LARGEST_RIGHT_SHIFT, min(places, MOST_SHIFT))


def logits_gradient(logits: Number, labels: torch.Tensor, key: Key) -> torch.Tensor:
    """Softmax − one-hot at (b, c) logits as int8 in units of 1/128, stochastically rounded. Source: NITI.

    Quotients are rounded down, also where NITI's division of integers truncates towards zero. At an exponent of −6 the
    two differ in 92 % of the elements, with a cosine of 0.997 between them; at −5 in 39 %, at −3 in 0.3 %. To the exact
    gradient the cosine at −6 is 0.9976, and 0.9951 when truncated. At ±128 NITI wraps; this is clipped to ±127.
    """
    exponent, values = int(logits.exponent), logits.values.to(torch.int64)
    if exponent > SMALLEST_POWER:
        powers = shifted((values * LOG2_E) >> LOG2_E_BITS, exponent)
        powers = (powers - powers.amax(dim=1, keepdim=True) + WINDOW).clamp(min=0)
        terms = torch.bitwise_left_shift(1, powers) - 1
    else:
        places = min(-exponent, MOST_SHIFT)
        terms = 2 ** (1 + 2 * places) + values * 2 ** (1 + places) + values * values
    errors = (terms << GRADIENT_BITS) // terms.sum(dim=1, keepdim=True)
    errors.scatter_add_(1, labels[:, None], -errors.sum(dim=1, keepdim=True))
    return stochastic_shift(errors, ROUNDED_BITS, key).clamp(-LARGEST, LARGEST).to(torch.int8)


def stochastic_shift(integers: torch.Tensor, places: int, key: Key) -> torch.Tensor:
    """X / 2**places, rounded away from zero with the probability of the discarded part; `places` up to 16."""
    magnitude = integers.abs()
    drawn = rounding_bits(0, magnitude.numel(), key, magnitude.device).view_as(magnitude) % 2**places
    return ((magnitude >> places) + ((magnitude % 2**places) > drawn)) * integers.sign()


def loss_difference(plus: Number, minus: Number, labels: torch.Tensor, fraction_bits: int = 0) -> int:
    """Summed cross-entropy at `plus` less that at `minus`, in steps of 2**−fraction_bits bits; its sign is g.

    Each example's terms of both passes share one offset, without which they could not be compared.
    """
    above, below, _ = _logarithms(plus, minus, labels, fraction_bits, share_top=True)
    return above - below


def mean_loss(plus: Number, minus: Number, labels: torch.Tensor, fraction_bits: int = 4) -> float:
    """Mean cross-entropy of two passes in nats, from integer tensors alone; for the record, no step depends on it."""
    *logarithms, tops = _logarithms(plus, minus, labels, fraction_bits, share_top=False)
    passes = 2 * len(labels)
    at_top = (_window(fraction_bits) + fraction_bits) << fraction_bits  # the logarithm that a lone term at the top has
    bits = sum(logarithms) - passes * at_top + tops
    return bits * math.log(2) / 2**fraction_bits / passes


def _logarithms(
    plus: Number, minus: Number, labels: torch.Tensor, fraction_bits: int, share_top: bool
) -> tuple[int, int, int]:
    """Summed over the batch: of each pass the logarithms below the example's largest power, and these powers of both.

    share_top: take the larger of both passes for each.
    """
    exponent = min(int(plus.exponent), int(minus.exponent))
    if sweeps := compiled_for(plus.values):
        places = [bounded(int(logits.exponent) - exponent) for logits in (plus, minus)]
        to_power = LOG2_E, bounded(exponent - LOG2_E_BITS + fraction_bits)
        kept = _window(fraction_bits) << fraction_bits, 2**fraction_bits
        logits = torch.stack((plus.values, minus.values))
        return sweeps.summed_logarithms(logits, places, labels, to_power, share_top, kept, _arrays(fraction_bits))
    powers = [_powers(logits, labels, exponent, fraction_bits) for logits in (plus, minus)]
    tops = [of_pass.amax(dim=1, keepdim=True) for of_pass in powers]
    if share_top:
        tops = [torch.maximum(*tops)] * 2
    above, below = (
        int(_log2_of_sum(of_pass - top, fraction_bits).sum()) for of_pass, top in zip(powers, tops, strict=True)
    )
    return above, below, int(sum(top.sum() for top in tops))


def _powers(logits: Number, labels: torch.Tensor, exponent: int, fraction_bits: int) -> torch.Tensor:
    """Exponents of two of the terms e**(logit − label's logit), in steps of 2**−fraction_bits: (b, c) int64."""
    values = shifted(logits.values.to(torch.int64), int(logits.exponent) - exponent)
    margins = values - values.gather(1, labels[:, None])
    return shifted(margins * LOG2_E, exponent - LOG2_E_BITS + fraction_bits)


def _log2_of_sum(below_top: torch.Tensor, fraction_bits: int) -> torch.Tensor:
    """⌊log2 Σ 2**power⌋ in steps of 2**−fraction_bits, up to a constant: (b,) from powers (b, c) of at most 0.

    At least that of the lower end of the window, also where all terms lie below it.
    """
    terms, thresholds = _tables(fraction_bits)
    kept = (below_top + (_window(fraction_bits) << fraction_bits)).clamp(min=0)
    sums = torch.tensor(terms, device=kept.device)[kept].sum(dim=1).clamp(min=2**fraction_bits)
    return torch.bucketize(sums, torch.tensor(thresholds, device=kept.device), right=True)


def _window(fraction_bits: int) -> int:
    """Bits between the largest term and those dropped."""
    return WINDOW + WINDOW_PER_FRACTION_BIT * fraction_bits


@lru_cache
def _arrays(fraction_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The same tables for compiled code."""
    terms, thresholds = _tables(fraction_bits)
    return np.array(terms, np.int64), np.array(thresholds, np.int64)


@lru_cache
def _tables(fraction_bits: int) -> tuple[list[int], list[int]]:
    """Powers of two by their exponent, and the least sum of each logarithm from the second on, in whole numbers.

    terms[k] = ⌊2**(fraction_bits + k / 2**fraction_bits)⌋, the smallest dropped; thresholds[k − 1] is the
    least n with log2 n ≥ k / 2**fraction_bits.
    """
    steps = 2**fraction_bits
    terms = [
        floor_root(1 << (fraction_bits * steps + k), fraction_bits) for k in range(_window(fraction_bits) * steps + 1)
    ]
    most = 64 * terms[-1]  # more classes than that are bounded
    thresholds: list[int] = []
    for k in count(1):
        least = floor_root((1 << k) - 1, fraction_bits) + 1
        if least > most:
            return [0, *terms[1:]], thresholds
        thresholds.append(least)
    raise AssertionError


def floor_root(number: int, halvings: int) -> int:
    """⌊number ** (1 / 2**halvings)⌋."""
    for _ in range(halvings):
        number = math.isqrt(number)
    return number
