"""Identities of the zeroth-order step: two routes, one answer."""

import math

import pytest
import torch
from torch import nn

from tightfit.numerics.noise.counter_noise import TABLES
from tightfit.numerics.noise.perturbation import Noise, Perturbation
from tightfit.optimizers.base import Batch, Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.rules.sgd import SGD
from tightfit.optimizers.schedules import StepDecay
from tightfit.optimizers.zeroth_order import clipped_slope
from tightfit.run.evaluate import cross_entropy

from .test_contract import tiny_batch, tiny_model, train, weights


def trained(optimizer: Optimizer, steps: int = 5) -> torch.Tensor:
    learner = optimizer.bind(tiny_model(), cross_entropy, seed=0)
    train(learner, range(steps))
    return weights(learner)


def test_elastic_zo_without_bp_layers_is_mezo_bit_for_bit() -> None:
    assert torch.equal(
        trained(ElasticZO(0.01, 1e-3, bp_lr=0.1, bp_layers=0, clip=5.0)), trained(MeZO(0.01, 1e-3, clip=5.0))
    )


@pytest.mark.parametrize("noise", TABLES)
def test_kernel_changes_nothing_that_is_computed(noise: Noise) -> None:
    def by(direction: Independent) -> torch.Tensor:
        return trained(MeZO(0.01, 1e-3, clip=5.0, queries=2, direction=direction))

    fastest = by(Independent(noise))
    assert torch.equal(fastest, by(Independent(noise, "portable")))
    assert torch.equal(fastest, by(Independent(noise, "reference")))
    assert not torch.equal(fastest, by(Independent("torch_gaussian")))


def test_elastic_zo_with_all_layers_is_gradient_descent_bit_for_bit() -> None:
    assert torch.equal(trained(ElasticZO(0.01, 1e-3, bp_lr=0.1, bp_layers=2)), trained(Backprop(0.1, SGD())))


def test_elastic_zo_feeds_bp_from_the_pass_it_names() -> None:
    """Reference: perturb the first layer only, and differentiate the last at the perturbed weights."""
    expected = {}
    for name, sign in [("plus", 1.0), ("minus", -1.0)]:
        model = tiny_model()
        first = [(n, p) for n, p in model.named_parameters() if n.startswith("0.")]
        Perturbation(first, seed=0).add_(sign * 1e-3, step=0)
        cross_entropy(model, tiny_batch(0)).backward()
        expected[name] = model[2].weight.grad
    expected["mean"] = (expected["plus"] + expected["minus"]) / 2
    for name, gradient in expected.items():
        model = tiny_model()
        before = model[2].weight.detach().clone()
        ElasticZO(0.0, 1e-3, bp_lr=1.0, bp_layers=1, bp_pass=name).bind(model, cross_entropy, seed=0).step(
            tiny_batch(0)
        )
        # minus goes through +eps − 2 eps, so the first layer differs from one subtraction in the last bits
        torch.testing.assert_close(before - model[2].weight.detach(), gradient, rtol=1e-4, atol=1e-6)


def test_step_follows_the_textbook_estimator() -> None:
    """Slow twin: z held in memory, weights copied, restore and update apart."""
    model, lr, eps, queries = tiny_model(), 0.01, 1e-2, 3
    learner = MeZO(lr, eps, queries=queries).bind(model, cross_entropy, seed=0)
    start = [parameter.clone() for parameter in model.parameters()]
    update = [torch.zeros_like(parameter) for parameter in start]
    for query in range(queries):
        probe = tiny_model()
        zero = [(name, nn.Parameter(torch.zeros_like(p))) for name, p in probe.named_parameters()]
        Perturbation(zero, seed=0, queries=queries).add_(1.0, step=0, query=query)
        losses = []
        for sign in (1, -1):
            for parameter, base, (_, z) in zip(probe.parameters(), start, zero, strict=True):
                parameter.data = base + sign * eps * z.data
            losses.append(cross_entropy(probe, tiny_batch(0)).item())
        slope = (losses[0] - losses[1]) / (2 * eps)
        update = [total + slope * z.data / queries for total, (_, z) in zip(update, zero, strict=True)]
    learner.step(tiny_batch(0))
    for parameter, base, total in zip(learner.resting_model().parameters(), start, update, strict=True):
        torch.testing.assert_close(parameter.data, base - lr * total, rtol=1e-4, atol=1e-5)  # slopes of float32 losses


def test_weights_return_to_rest_when_lr_is_zero() -> None:
    learner = MeZO(0.0, 1e-3).bind(tiny_model(), cross_entropy, seed=0)
    before = weights(learner)
    train(learner, range(1))
    assert (weights(learner) - before).abs().max() <= 3 * 2**-23  # three roundings of numbers below 4


def test_estimate_is_unbiased_on_a_quadratic() -> None:
    """For the loss w·w/2 the mean update direction over many steps is the gradient w."""

    class Quadratic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.linspace(-1, 1, 10))

    model, total, count = Quadratic(), torch.zeros(10), 4000
    learner = MeZO(1.0, 1e-2).bind(model, lambda m, _: (m.w**2).sum() / 2, seed=0)
    start = model.w.detach().clone()
    for step in range(count):
        learner.step(Batch(torch.empty(0), torch.empty(0), step, 0.0))
        learner.resting_model()
        total += start - model.w.detach()
        model.w.data.copy_(start)
    cosine = torch.cosine_similarity(total, start, dim=0)
    assert cosine > 0.99  # its standard error is about sqrt(10 / 4000) / 2 in angle
    assert (total / count).norm() / start.norm() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("difference", "clip", "slope"), [(0.4, 1.0, 1.0), (-0.4, 1.0, -1.0), (0.1, 1.0, 0.5), (0.4, math.inf, 2.0)]
)
def test_slope_is_clipped_to_its_bound(difference: float, clip: float, slope: float) -> None:
    assert clipped_slope(1.0 + difference, 1.0, eps=0.1, clip=clip) == pytest.approx(slope)


def test_loss_that_is_not_a_number_is_not_hidden_by_the_clip() -> None:
    assert math.isnan(clipped_slope(math.nan, 1.0, eps=0.1, clip=1.0))


def test_any_hyperparameter_follows_its_schedule() -> None:
    falling = StepDecay(1.0, 0.5, every_epochs=0.1)  # a tenth of an epoch is one step of the tiny problem
    decayed = MeZO(lr=0.0, eps=falling, clip=falling).bind(tiny_model(), lambda m, _: m[0].weight.sum() * 100, seed=0)
    slopes = [abs(decayed.step(tiny_batch(step)).scalars["slope"]) for step in range(3)]
    assert slopes == [1.0, 0.5, 0.25]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MeZO(1e-3, 1e-3, queries=0), "queries=0"),
        (lambda: MeZO(1e-3, 1e-3, direction=Independent("pink")), "noise='pink'"),
        (
            lambda: ElasticZO(
                1e-3, 1e-3, bp_lr=0.1, bp_layers=1, direction=Independent("torch_gaussian", kernel="fused")
            ),
            "kernel='fused'",
        ),
        (lambda: ElasticZO(1e-3, 1e-3, bp_lr=0.1, bp_layers=1, bp_pass="third"), "bp_pass='third'"),
        (
            lambda: ElasticZO(1e-3, 1e-3, bp_lr=0.1, bp_layers=3).bind(tiny_model(), cross_entropy, 0),
            "bp_layers=3 .* choose 0–2",
        ),
    ],
)
def test_impossible_hyperparameters_are_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]
