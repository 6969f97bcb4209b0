"""How far a stream is from independent normal numbers, in standard errors: `python -m tests.numerics.noise_statistics`.

The suite takes 4 million numbers; this takes 100 million in half a minute of one core, from the root seed that is
given, or 0.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
import torch
from torch import nn

from tightfit.numerics.noise.counter_noise import TABLES
from tightfit.numerics.noise.perturbation import Noise, Perturbation

SIZE = 2**18  # numbers of a tensor
LAGS = (1, 2, 3, 4, 5, 8, 16, 64, 1024)
Numbers = np.ndarray[tuple[int], np.dtype[np.float64]]


def directions(noise: Noise, steps: int, seed: int) -> Iterator[tuple[Numbers, Numbers]]:
    """The numbers of two tensors, step by step."""
    tensors = [nn.Parameter(torch.zeros(SIZE), requires_grad=False) for _ in range(2)]
    perturbation = Perturbation([(str(number), tensor) for number, tensor in enumerate(tensors)], seed, noise=noise)
    for step in range(steps):
        for tensor in tensors:
            tensor.zero_()
        perturbation.add_(1.0, step)
        one, other = (tensor.double().numpy() for tensor in tensors)
        yield one, other


class Products:
    """Sums of products of numbers that should be independent; and of their squares, whose dependence is another."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def add(self, name: str, one: Numbers, other: Numbers) -> None:
        squares = float((one * one - 1) @ (other * other - 1)) / 2  # each of variance 2
        for kind, total in ((name, float(one @ other)), (f"{name}, squares", squares)):
            self.sums[kind] = self.sums.get(kind, 0.0) + total
            self.counts[kind] = self.counts.get(kind, 0) + len(one)

    def scores(self) -> dict[str, float]:
        return {name: total / math.sqrt(self.counts[name]) for name, total in self.sums.items()}


def statistics_of(noise: Noise, numbers: int, seed: int = 0) -> dict[str, float]:
    """Moments, serial correlations and the even use of the table, each as a number of standard errors; and √n × the
    Kolmogorov–Smirnov distance from the normal distribution."""
    table = TABLES[noise].double().numpy()
    steps, products, before = -(-numbers // (2 * SIZE)), Products(), [np.zeros(0)] * 2
    counts, powers = np.zeros(len(table), np.int64), np.zeros(4)
    for one, other in directions(noise, steps, seed):
        for z in (one, other):
            counts += np.bincount(np.searchsorted(table, z), minlength=len(table))
            powers += [z.sum(), z @ z, (z * z) @ z, (z * z) @ (z * z)]
        correlations(products, one, other, before)
        before = [one, *before[:1]]
    n = counts.sum()
    expected = np.array([1.0, 3.0, 15.0, 105.0]), np.array([0.0, 1.0, 0.0, (table**4).mean()])
    moments = (powers / n - expected[1]) / np.sqrt((expected[0] - expected[1] ** 2) / n)
    even = n / len(table)
    chi_squared = ((counts - even) ** 2 / even).sum()
    return {
        **{f"moment {power}": float(score) for power, score in enumerate(moments, 1)},
        "even use of the table": float((chi_squared - len(table) + 1) / math.sqrt(2 * len(table) - 2)),
        **products.scores(),
        "Kolmogorov–Smirnov": math.sqrt(n) * distance_from_normal(table, counts / n),
    }


def correlations(products: Products, one: Numbers, other: Numbers, before: list[Numbers]) -> None:
    for lag in LAGS:
        products.add(f"lag {lag}", one[:-lag], one[lag:])
    for first in range(4):
        for second in range(first + 1, 4):
            products.add(f"lanes {first} and {second}", one[first::4], one[second::4])
    products.add("two tensors", one, other)
    for steps, earlier in enumerate(before, 1):
        if len(earlier):
            products.add(f"{steps} steps apart", earlier, one)


def distance_from_normal(values: Numbers, shares: Numbers) -> float:
    """The largest difference of the distribution functions, on both sides of each jump."""
    reached = np.concatenate([[0.0], np.cumsum(shares)])
    normal = np.array([NormalDist().cdf(value) for value in values])
    return float(max(np.abs(reached[1:] - normal).max(), np.abs(reached[:-1] - normal).max()))


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    for name, score in statistics_of("gaussian", 10**8, seed).items():
        print(f"{score:7.2f}  {name}")


if __name__ == "__main__":
    main()
