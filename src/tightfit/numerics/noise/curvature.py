"""Directions that are short where a loss is curved: z / √H, with an estimate H of the loss's second derivative for each
weight, in float32. It begins at 1, where the directions are z itself, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import nn

from tightfit.numerics.noise.counter_noise import MANTISSA_BITS, Key, rounded_stochastically, rounding_bits
from tightfit.numerics.noise.perturbation import KernelName, Noise, Perturbation
from tightfit.numerics.noise.rounding import within
from tightfit.numerics.noise.streams import PIECE, CounterStream
from tightfit.numerics.threads import Work

LEAST_FACTOR = 0.5  # of an estimate in one step, where its change may be negative


class CurvedStream:
    """The numbers of `plain`, each divided by the root of the curvature at its weight."""

    shared_out = True

    def __init__(self, plain: CounterStream) -> None:
        self.weights = plain.weights
        self.curvature = torch.ones_like(plain.weights, dtype=torch.float32)
        self._plain = plain

    def draws(self, counter: int) -> Iterator[torch.Tensor]:
        for numbers, curvature in zip(self._plain.draws(counter), self.curvature.split(PIECE), strict=True):
            yield numbers.div_(curvature.sqrt())

    def rounding(self, counter: int) -> Key:
        return self._plain.rounding(counter)

    def work(self, target: torch.Tensor, scale: float, counter: int, stochastically: bool = False) -> list[Work]:
        return [partial(self._write, target, within(scale, torch.float32), counter, stochastically)]

    def _write(self, target: torch.Tensor, scale: float, counter: int, stochastically: bool) -> None:
        rounding = self.rounding(counter)
        pieces = zip(self.weights.split(PIECE), target.split(PIECE), self.draws(counter), strict=True)
        for number, (source, after, direction) in enumerate(pieces):
            total = direction.mul_(scale).add_(source)
            if stochastically and after.dtype in MANTISSA_BITS:
                bits = rounding_bits(number * PIECE, len(source), rounding, source.device)
                total = rounded_stochastically(total, bits, after.dtype)
            after.copy_(total)

    def learn_(self, bends: Sequence[tuple[int, float]], rate: float, subtracted: float) -> None:
        """H ← H · (1 − rate + rate · mean of bend · (z² − `subtracted`)), and not less than half of H.

        bends: the counters of directions, and half the second derivative of the loss along each.
        """
        drawn = [self._plain.draws(counter) for counter, _ in bends]
        for curvature, *numbers in zip(self.curvature.split(PIECE), *drawn, strict=True):
            factor = torch.full_like(curvature, 1 - rate)
            for z, (_, bend) in zip(numbers, bends, strict=True):
                factor.add_(z.square_().sub_(subtracted), alpha=within(rate * bend / len(bends), torch.float32))
            curvature.mul_(factor.clamp_(min=LEAST_FACTOR) if subtracted else factor)


class CurvedPerturbation(Perturbation):
    """As Perturbation, for noise by counters, with directions divided by the root of a curvature that is learned."""

    def __init__(
        self, parameters: Iterable[tuple[str, nn.Parameter]], seed: int, queries: int, noise: Noise, kernel: KernelName
    ) -> None:
        super().__init__(parameters, seed, queries, noise, kernel)
        self.curved: dict[nn.Parameter, CurvedStream] = {}
        for parameter, stream in self.streams.items():
            assert isinstance(stream, CounterStream)
            self.curved[parameter] = CurvedStream(stream)
        self.streams = dict(self.curved)
        self._fused, self._apart = [], list(self.streams.values())

    def learn_(self, step: int, bends: Sequence[float], rate: float, subtracted: float) -> None:
        """As `CurvedStream.learn_`, for the directions of `step`, one for each of `bends`."""
        counted = [(self.counter(step, query), bend) for query, bend in enumerate(bends)]
        for stream in self.curved.values():
            stream.learn_(counted, rate, subtracted)
