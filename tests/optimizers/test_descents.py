"""How slopes become a step: each descent beside a slow twin that holds everything, and where it meets another."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tightfit.numerics.noise.counter_noise import TABLES
from tightfit.numerics.noise.perturbation import Noise, Perturbation
from tightfit.optimizers.descents.descent import Descent
from tightfit.optimizers.descents.momentum import Momentum
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.directions.torch_legacy import TorchLegacy
from tightfit.optimizers.mezo import MeZO
from tightfit.run.evaluate import cross_entropy

from .test_contract import tiny_model, train, weights

# A power of two, by which products are scaled without rounding: where two routes multiply in another order, bits agree.
LR = 2.0**-7
STEPS = 6


def trained(method: MeZO, steps: int = STEPS, model: Callable[[], nn.Module] = tiny_model) -> torch.Tensor:
    learner = method.bind(model(), cross_entropy, seed=0)
    train(learner, range(steps))
    return weights(learner)


def exact(descent: Descent | None = None, **settings: Any) -> MeZO:
    own = {"descent": descent} if descent else {}
    return MeZO(settings.pop("lr", LR), 1e-3, restore="exact", **own, **settings)


class Recorded:
    """The estimates, weights and slopes of a method's steps, all held."""

    def __init__(self, method: MeZO, steps: int = STEPS) -> None:
        self.slopes: list[list[float]] = []
        model = tiny_model()
        learner: Any = method.bind(model, cross_entropy, seed=0)
        step_ = learner._descender.step_
        learner._descender.step_ = lambda probe, lr, slopes, step: (
            self.slopes.append(list(slopes)),
            step_(probe, lr, slopes, step),
        )
        train(learner, range(steps))
        self.weights = weights(learner)
        self.estimates = [self._estimate(method, step) for step in range(steps)]

    def directions(self, method: MeZO, step: int) -> list[torch.Tensor]:
        """Each direction of the step as one long tensor."""
        drawn = []
        for query in range(method.queries):
            zeros = [(name, nn.Parameter(torch.zeros_like(p))) for name, p in tiny_model().named_parameters()]
            Perturbation(zeros, seed=0, queries=method.queries).add_(1.0, step, query)
            drawn.append(torch.cat([zero.data.flatten() for _, zero in zeros]))
        return drawn

    def _estimate(self, method: MeZO, step: int) -> torch.Tensor:
        directions = self.directions(method, step)
        return sum(s * z for s, z in zip(self.slopes[step], directions, strict=True)) / method.queries


def start() -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in tiny_model().parameters()])


def by_torch(optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer], recorded: Recorded) -> torch.Tensor:
    """The weights after the recorded estimates were given to an optimizer of PyTorch as gradients."""
    parameter = nn.Parameter(start())
    stepper = optimizer([parameter])
    for estimate in recorded.estimates:
        parameter.grad = estimate
        stepper.step()
    return parameter.detach()


@pytest.mark.parametrize("noise", TABLES)
def test_no_momentum_is_mezo_bit_for_bit(noise: Noise) -> None:
    direction = Independent(noise)
    assert torch.equal(trained(exact(Momentum(0.0), direction=direction)), trained(exact(direction=direction)))


@pytest.mark.parametrize("restore", ["merged", "exact"])
@pytest.mark.parametrize("queries", [1, 3])
def test_momentum_is_that_of_pytorch_with_the_estimate_as_gradient(queries: int, restore: Any) -> None:
    recorded = Recorded(MeZO(LR, 1e-3, queries=queries, restore=restore, descent=Momentum(0.9)))
    twin = by_torch(lambda parameters: torch.optim.SGD(parameters, LR, momentum=0.9), recorded)
    torch.testing.assert_close(recorded.weights, twin, rtol=1e-5, atol=1e-5)
    assert (twin - start()).norm() > 0.1  # the steps are far longer than that


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Momentum(1.0), r"descent.beta=1.0 is not from 0 to less than 1"),
        (
            lambda: MeZO(1e-3, 1e-3, direction=TorchLegacy(), descent=Momentum()),
            "descent=momentum needs each number of a direction by itself, and direction=torch_legacy",
        ),
    ],
)
def test_impossible_settings_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
