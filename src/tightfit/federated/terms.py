"""What the members of a federation agree on, and the weights that follow from it (FedKSeed, arXiv 2312.06353).

The state of a federation is one sum of slopes for each seed of a pool. Weights are a function of the weights it began
with and of these sums, always taken from the beginning: whoever has the sums has the weights, bit for bit.

Sums are whole numbers of millionths, so that they are the same in whatever order they are added up. A loss in float32
over 2 eps holds no more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import nn

from tightfit.optimizers.seed_pool import SeedPool
from tightfit.run.checkpoint import weights_digest
from tightfit.run.task import Task

DECIMALS = 6
UNITS = 10**DECIMALS


@dataclass(frozen=True)
class Terms:
    """base: sha256 of the weights at the beginning; noise, seed, pool: of the directions; lr, eps, clip: of a step.

    steps: of a client in a round, at most; contributions: that make a round; rounds: until the federation is over.
    """

    base: str
    noise: str
    seed: int
    pool: int
    lr: float
    eps: float
    clip: float
    steps: int
    contributions: int
    rounds: int

    def head(self, number: int, sums: Sequence[int]) -> str:
        """The name of the state with these `sums` (pool,) at round `number`: equal exactly when states are."""
        state = json.dumps([asdict(self), number, list(sums)]).encode()
        return hashlib.blake2b(state, digest_size=16).hexdigest()

    def differs(self, other: Terms) -> str:
        """The first thing in which `other` is not the same, in words; empty where nothing is."""
        for name, own in asdict(self).items():
            if own != getattr(other, name):
                return f"{name} is {own} there and {getattr(other, name)} here"
        return ""


def terms_of(task: Task, steps: int, contributions: int, rounds: int) -> Terms:
    """Raises ValueError for a method whose steps are no sums over a pool of seeds."""
    method = pool_of(task)
    return Terms(
        base=weights_digest(task.model),
        noise=method.direction.noise,
        seed=task.seed,
        pool=method.pool,
        lr=float(constant("lr", method.lr)),
        eps=float(constant("eps", method.eps)),
        clip=round(float(constant("clip", method.clip)), DECIMALS),  # as slopes are
        steps=steps,
        contributions=contributions,
        rounds=rounds,
    )


def pool_of(task: Task) -> SeedPool:
    method = task.optimizer
    if not isinstance(method, SeedPool):
        raise ValueError("a federation adds up slopes along a pool of seeds; choose optimizer=seed_pool")
    if method.queries != 1:
        raise ValueError(f"queries={method.queries} but a client sends one slope a step; choose optimizer.queries=1")
    return method


def constant(name: str, value: object) -> float:
    if callable(value):
        raise ValueError(f"optimizer.{name} has a schedule, but clients share no epochs; write a number")
    if not isinstance(value, int | float):
        raise ValueError(f"optimizer.{name}={value} is no number; write one")
    if value == float("inf"):
        raise ValueError(f"optimizer.{name} is infinite, so nothing bounds what one client does; write a number")
    return value


def terms_in(text: str | bytes) -> Terms:
    """The terms that were written as JSON. Raises ValueError for anything else."""
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if not isinstance(said, dict) or set(said) != {field.name for field in fields(Terms)}:
        raise ValueError("these are no terms of a federation; use the version of tightfit that wrote them")
    return Terms(**said)


def added(sums: Sequence[int], moves: Iterable[tuple[int, float]]) -> list[int]:
    """`sums` (pool,) with slopes added to those of their seeds."""
    after = list(sums)
    for seed, slope in moves:
        after[seed] += round(slope * UNITS)
    return after


class Replica:
    """A model that takes the weights of any state. Holds a copy of those at the beginning, which a device would read
    from its disk."""

    def __init__(self, model: nn.Module, method: SeedPool, terms: Terms) -> None:
        self.model, self._method, self._terms = model, method, terms
        self._base: dict[str, Any] = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def take(self, sums: Sequence[int]) -> None:
        """Give the model the weights of the state with `sums` (pool,): the mean of a round's clients moves it."""
        terms = self._terms
        self.model.load_state_dict(self._base)
        amounts = [-terms.lr * total / (terms.contributions * UNITS) for total in sums]
        self._method.move_(self.model, torch.tensor(amounts, dtype=torch.float64), terms.seed)
