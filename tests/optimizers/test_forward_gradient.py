"""The slope by forward-mode differentiation is that of the gradient, the limit of MeZO's, and the one applied."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from tests.synthetic import adapted
from tightfit.memory.parts import trained_parameters
from tightfit.models.adapters.lora import LoRA
from tightfit.optimizers.base import Batch
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.directions.torch_legacy import TorchLegacy
from tightfit.optimizers.forward_gradient import ForwardGradient
from tightfit.optimizers.mezo import MeZO
from tightfit.run.evaluate import cross_entropy
from tightfit.run.loss_log import LossLog

from .test_conformance import (
    SHAPES,
    Model,
    at_rest,
    batch,
    check_threads_change_nothing,
    check_unbiased_on_a_quadratic,
)
from .test_contract import tiny_batch, tiny_model

NORMAL = Independent("torch_gaussian")  # which float64 has too


def in_float64(batch: Batch) -> Batch:
    return Batch(batch.inputs.double(), batch.labels, batch.step, batch.epoch)


def exact_cross_entropy(model: Any, batch: Batch) -> torch.Tensor:
    return F.cross_entropy(model(batch.inputs), batch.labels)


def smooth_model() -> nn.Module:
    model = tiny_model().double()
    model[1] = nn.Tanh()
    return model


def slope_of(method: Any, model: nn.Module) -> float:
    return method.bind(model, exact_cross_entropy, 0).step(in_float64(tiny_batch(3))).scalars["slope"]


def test_slope_is_the_product_of_gradient_and_direction() -> None:
    model, given = smooth_model(), in_float64(tiny_batch(3))
    exact_cross_entropy(model, given).backward()
    z = NORMAL.perturbation(trained_parameters(model), 0, 1)
    expected = sum(
        float(parameter.grad.flatten() @ torch.cat(list(z.streams[parameter].draws(z.counter(3, 0)))))
        for parameter in model.parameters()
        if parameter.grad is not None
    )
    assert slope_of(ForwardGradient(0.0, direction=NORMAL), smooth_model()) == pytest.approx(expected, rel=1e-13)


def test_slope_of_mezo_tends_to_it_as_the_square_of_eps() -> None:
    limit = slope_of(ForwardGradient(0.0, direction=NORMAL), smooth_model())
    errors = [
        slope_of(MeZO(0.0, eps, direction=NORMAL, restore="exact"), smooth_model()) - limit for eps in (1e-3, 1e-4)
    ]
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.01)  # the next term is smaller by eps²


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("noise", ["gaussian", "rademacher", "gaussian_fast", "torch_gaussian"])
def test_direction_probed_is_direction_applied(noise: Any, dtype: torch.dtype) -> None:
    """For a linear loss the step is −lr ⟨c, z⟩ z, of the z that was the tangent; 16 bits round that by chance."""
    model, probed = Model(SHAPES, dtype), []
    target = torch.randn(at_rest(model).shape, generator=torch.Generator().manual_seed(1)) / 1000

    def objective(model: Any, _: Batch) -> torch.Tensor:
        answers = model()
        probed.append(forward_ad.unpack_dual(answers).tangent.clone())
        return answers @ target

    before = at_rest(model).double()
    ForwardGradient(0.5, direction=Independent(noise)).bind(model, objective, seed=0).step(batch(3))
    z, change = probed[0].double(), at_rest(model).double() - before
    expected = -0.5 * float(z @ target.double()) * z
    if dtype == torch.float32:
        assert (change - expected).norm() < 1e-5 * expected.norm()
    else:
        assert torch.cosine_similarity(change, expected, dim=0) > 0.99


@pytest.mark.parametrize("check", [check_unbiased_on_a_quadratic, check_threads_change_nothing])
def test_estimate_is_as_that_of_any_zeroth_order_method(check: Any) -> None:
    check(ForwardGradient(0.5, direction=Independent("rademacher")))


def test_weights_stay_bit_for_bit_where_the_rate_is_zero() -> None:
    model = tiny_model()
    before = copy.deepcopy(model.state_dict())
    ForwardGradient(0.0).bind(model, cross_entropy, 0).step(tiny_batch(0))
    assert all(torch.equal(weights, before[name]) for name, weights in model.state_dict().items())


def test_a_log_of_losses_and_slopes_gives_the_steps_again_without_passes() -> None:
    method, log, again = ForwardGradient(0.01, queries=2), LossLog(cross_entropy), LossLog(None)
    first, second = method.bind(tiny_model(), log, 0), method.bind(tiny_model(), again, 0)
    for step in range(3):
        first.step(tiny_batch(step))
    assert len(log) == 2 * 2 * 3
    with again.replaying(bytes(log)):
        for step in range(3):
            second.step(tiny_batch(step))
    states = [learner.resting_model().state_dict() for learner in (first, second)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_frozen_layers_of_few_bits_pass_the_derivative_on() -> None:
    model = adapted(tiny_model(), LoRA(2, 4, targets=["0"], frozen_bits=8))
    report = ForwardGradient(0.01).bind(model, cross_entropy, 0).step(tiny_batch(0))
    assert report.scalars["slope"] != 0


class NoDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.clone()


class Cut(nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return NoDerivative.apply(inputs)


class ReadsAnothersWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs @ self.inner.weight.T


def test_what_cannot_be_differentiated_is_refused_in_a_sentence() -> None:
    cut = nn.Sequential(nn.Linear(8, 3), Cut())
    with pytest.raises(ValueError, match=r"part of this model has no forward derivative \(.*\); choose optimizer=mezo"):
        ForwardGradient(0.1).bind(cut, cross_entropy, 0).step(tiny_batch(0))
    with pytest.raises(ValueError, match=r"inner.weight is not used by its own module's .*; choose optimizer=mezo"):
        ForwardGradient(0.1).bind(ReadsAnothersWeights(), cross_entropy, 0).step(tiny_batch(0))
    assert all(type(weights) is nn.Parameter for weights in cut.parameters())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"queries": 0}, "queries=0 but a step needs at least one direction; choose 1 or more"),
        ({"lr": -1.0}, "optimizer.lr=-1.0 is not a finite number from 0; choose"),
        ({"clip": 0.0}, "optimizer.clip=0.0 is not more than 0; choose"),
        ({"direction": TorchLegacy()}, "along independent numbers alone; choose direction=gaussian"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ForwardGradient(**{"lr": 0.1, **wrong})
