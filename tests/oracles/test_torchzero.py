"""Ours beside torchzero, a library of others, where both have a method: the same weights after the same directions.

Its random numbers are replaced by ours, and losses are taken in float64, so that what is done with both is compared.
Compared with torchzero 0.4.4; `pip install --no-deps torchzero` lets it alone with what is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tightfit.memory.parts import trained_parameters
from tightfit.optimizers.base import Batch, Optimizer
from tightfit.optimizers.descents.adam import Adam
from tightfit.optimizers.descents.momentum import Momentum
from tightfit.optimizers.descents.sign import Sign
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.forward_gradient import ForwardGradient
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.one_sided import OneSided

tz = pytest.importorskip("torchzero", reason="torchzero is not installed: pip install --no-deps torchzero")
SEED, STEPS, LR, EPS = 3, 6, 1e-2, 1e-2
# Weights at the ends of a direction are rounded to 6e-8 of their size: over 2 eps some 1e-5 of a slope, of which a step
# is a hundredth.
ROUNDING = 1e-5
GAUSSIAN, SIGNS = Independent("gaussian"), Independent("rademacher")
HEAVY_BALL = {"momentum": 0.9, "ema_init": "zeros"}  # by default its sum begins otherwise


def pair(ours: Optimizer, *theirs: Callable[[], Any], name: str) -> Any:
    return pytest.param(ours, theirs, id=name)


PAIRS = [
    pair(MeZO(LR, EPS), lambda: tz.m.MeZO(h=EPS, distribution="gaussian"), name="MeZO"),
    pair(
        MeZO(LR, EPS, queries=3),
        lambda: tz.m.MeZO(h=EPS, n_samples=3, distribution="gaussian"),
        name="MeZO of three directions",
    ),
    pair(MeZO(LR, EPS, direction=SIGNS), lambda: tz.m.SPSA(h=EPS), name="SPSA"),
    pair(MeZO(LR, EPS, restore="exact"), lambda: tz.m.RDSA(h=EPS), name="RDSA"),
    pair(
        OneSided(LR, EPS, queries=4),
        lambda: tz.m.GaussianSmoothing(h=EPS, n_samples=4),
        name="Gaussian smoothing by one-sided slopes",
    ),
    pair(ForwardGradient(LR), lambda: tz.m.ForwardGradient(), name="forward gradient"),
    pair(
        ForwardGradient(LR, queries=2),
        lambda: tz.m.ForwardGradient(n_samples=2),
        name="forward gradient of two directions",
    ),
    pair(
        MeZO(LR, EPS, descent=Momentum(0.9)),
        lambda: tz.m.MeZO(h=EPS, distribution="gaussian"),
        lambda: tz.m.HeavyBall(**HEAVY_BALL),
        name="momentum",
    ),
    pair(
        MeZO(LR, EPS, descent=Adam()),
        lambda: tz.m.MeZO(h=EPS, distribution="gaussian"),
        lambda: tz.m.Adam(),
        name="Adam",
    ),
    pair(
        MeZO(LR, EPS, queries=2, descent=Sign()),
        lambda: tz.m.MeZO(h=EPS, n_samples=2, distribution="gaussian"),
        lambda: tz.m.Sign(),
        name="signs",
    ),
]


class InDouble(nn.Linear):
    """Weights in float32, in which directions are drawn, and all that is computed of them in float64."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(inputs, self.weight.double(), self.bias.double())


def model() -> nn.Sequential:
    generator = torch.Generator().manual_seed(1)
    network = nn.Sequential(InDouble(8, 16), nn.Tanh(), InDouble(16, 3))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return network


def batch(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(32, 8, generator=generator, dtype=torch.float64)
    return Batch(inputs, torch.randint(0, 3, (32,), generator=generator), step, 0.0)


def objective(predict: Callable[[torch.Tensor], torch.Tensor], at: Batch) -> torch.Tensor:
    return nn.functional.cross_entropy(predict(at.inputs), at.labels)


def directions(ours: Any) -> Callable[[int, int], list[torch.Tensor]]:
    """Z of a step and a query as our method draws it: what its perturbation adds to weights of zero."""
    network = model()
    drawing = ours.direction.perturbation(trained_parameters(network), SEED, ours.queries)

    def drawn(step: int, query: int) -> list[torch.Tensor]:
        for parameter in network.parameters():
            parameter.data.zero_()
        drawing.add_(1.0, step, query)
        return [parameter.detach().clone() for parameter in network.parameters()]

    return drawn


class Drawing:
    """Answers torchzero where it draws random numbers: with ours, of the step and the query that are under way."""

    def __init__(self, ours: Any) -> None:
        self.drawn, self.queries, self.step, self.asked = directions(ours), ours.queries, 0, 0

    def of_seed(self, params: Any, distribution: str, seed: int, h: Any) -> Any:
        """As its MeZO asks: by a seed, whose last digits are the number of the query."""
        return tz.utils.TensorList(self.drawn(self.step, seed % 1_000_000)) * h

    def next(self, params: Any) -> Any:
        """As the others ask: once for each query of a step."""
        query, self.asked = self.asked % self.queries, self.asked + 1
        return tz.utils.TensorList(self.drawn(self.step, query))


@pytest.fixture
def theirs_with_our_numbers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., nn.Module]:
    """Trains a model as torchzero does, by the numbers that our method draws."""

    def trained(ours: Any, modules: tuple[Callable[[], Any], ...]) -> nn.Module:
        drawing, network = Drawing(ours), model()
        monkeypatch.setattr(tz.m.MeZO, "_seeded_perturbation", lambda self, **asked: drawing.of_seed(**asked))
        monkeypatch.setattr(tz.utils.TensorList, "sample_like", lambda params, **asked: drawing.next(params))
        optimizer = tz.Optimizer(network.parameters(), *(make() for make in modules), tz.m.LR(LR))
        for step in range(STEPS):
            drawing.step = step
            at = batch(step)

            def closure(backward: bool = True, at: Batch = at) -> torch.Tensor:
                assert not backward  # none of these methods needs a backward pass
                return objective(network, at)

            optimizer.step(closure)
        return network

    return trained


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_both_end_at_the_same_weights(
    ours: Optimizer, theirs: tuple[Callable[[], Any], ...], theirs_with_our_numbers: Callable[..., nn.Module]
) -> None:
    network = model()
    learner = ours.bind(network, objective, SEED)
    for step in range(STEPS):
        learner.step(batch(step))
    network = learner.resting_model()
    other, began = theirs_with_our_numbers(ours, theirs), model()
    for own, their, first in zip(network.parameters(), other.parameters(), began.parameters(), strict=True):
        assert (own - first).abs().max() > 100 * ROUNDING  # there was a way to go
        torch.testing.assert_close(own, their, rtol=0, atol=ROUNDING)
