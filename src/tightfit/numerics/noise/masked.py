"""Directions that leave large weights alone: a mask of magnitudes, taken of the weights at rest.

A mask taken of perturbed weights would be another one at each end of a direction and a third one in the update. So it
is made anew by the first use of a step, when the weights are at rest, and remembered until the next: one bit a weight.
"""

from __future__ import annotations

import math
import struct

import torch

from tightfit.numerics.noise.counter_noise import noise_at
from tightfit.numerics.noise.piecewise import Draw, PiecewiseStream
from tightfit.numerics.noise.streams import PIECE, CounterStream

# (256, 8): whether a bit of the row's number is set, lowest first.
BITS = (torch.arange(256)[:, None] >> torch.arange(8) & 1).to(torch.bool)
DIGIT_BITS, MAGNITUDE_BITS = 8, 32


class MaskedStream(PiecewiseStream):
    """The numbers of `plain` where a weight at rest is at most a threshold in magnitude, and zeros elsewhere.

    keep: share of the weights that the threshold, taken of them now, lets move. queries: directions per step.
    """

    def __init__(self, plain: CounterStream, keep: float, queries: int) -> None:
        super().__init__(plain)
        self._threshold = threshold_of(self.weights, keep)
        self._queries = queries
        self._step: int | None = None  # whose mask is remembered
        self._bits = self.weights.new_empty(-(-len(self.weights) // 8), dtype=torch.uint8)
        self._unpacked = BITS.to(self.weights.device)

    def draw(self, counter: int) -> Draw:
        step, key = counter // self._queries, self.keys.of(counter)
        is_new, self._step = step != self._step, step

        def drawn(weights: torch.Tensor, start: int, scale: float) -> torch.Tensor:
            if self.compiled:
                return self._drawn_by_compiled_code(weights, start, scale, counter, is_new)
            frozen = self._frozen(weights, start, is_new)
            noise = noise_at(slice(start, start + len(weights)), self._table, key).mul_(scale)
            return noise.masked_fill_(frozen, -0.0)  # the one number that changes no weight, not even −0

        return drawn

    def state(self) -> float:
        """The threshold: all that a direction depends on beside the weights, the seed and the counter."""
        return self._threshold

    def load_state(self, threshold: float) -> None:
        """The weights were replaced too, so the next mask is made anew whatever the step."""
        self._threshold, self._step = threshold, None

    def _bits_of(self, weights: torch.Tensor, start: int) -> torch.Tensor:
        return self._bits[start // 8 : -(-(start + len(weights)) // 8)]

    def _drawn_by_compiled_code(
        self, weights: torch.Tensor, start: int, scale: float, counter: int, is_new: bool
    ) -> torch.Tensor:
        from tightfit.numerics.noise.compiled_pieces import fill_masked, mark  # optional, so imported only here

        bits, noise = self._bits_of(weights, start), torch.empty(len(weights))
        if is_new:
            mark(bits, weights.float(), self._threshold)
        fill_masked(noise, bits, self._noise, self.keys, start, scale, counter)
        return noise

    def _frozen(self, weights: torch.Tensor, start: int, is_new: bool) -> torch.Tensor:
        """Where a piece of the weights does not move: (n,) bool."""
        bits = self._bits_of(weights, start)
        if is_new:
            frozen = weights.abs() > self._threshold
            bits.copy_(packed(frozen))
            return frozen
        return self._unpacked.index_select(0, bits.int()).view(-1)[: len(weights)]


def packed(mask: torch.Tensor) -> torch.Tensor:
    """(n,) bool as (⌈n / 8⌉,) uint8, lowest bits first."""
    whole = torch.nn.functional.pad(mask, (0, -len(mask) % 8)).view(-1, 8)
    places = torch.arange(8, dtype=torch.uint8, device=mask.device)
    return (whole.view(torch.uint8) << places).sum(1, dtype=torch.uint8)


def threshold_of(weights: torch.Tensor, keep: float) -> float:
    """The least magnitude that at least a share `keep` of the flat `weights` do not exceed.

    The digits of float32 numbers without a sign are in the order of the numbers, so the magnitude is found digit by
    digit, by counting: no sort, and nothing of the tensor's size.
    """
    if keep == 1.0:
        return math.inf
    wanted, found = math.ceil(keep * len(weights)), 0
    for shift in range(MAGNITUDE_BITS - DIGIT_BITS, -1, -DIGIT_BITS):
        counts = torch.zeros(2**DIGIT_BITS, dtype=torch.int64, device=weights.device)
        for piece in weights.split(PIECE):
            magnitude = piece.abs().float().view(torch.int32)
            digits = magnitude >> shift
            in_question = digits >> DIGIT_BITS == found
            counts.index_add_(0, digits & 2**DIGIT_BITS - 1, in_question.long())
        below = counts.cumsum(0)
        digit = int((below < wanted).sum())
        wanted -= int(below[digit - 1]) if digit else 0
        found = found << DIGIT_BITS | digit
    return struct.unpack("=f", struct.pack("=i", found))[0]
