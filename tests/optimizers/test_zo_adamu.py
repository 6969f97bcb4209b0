"""ZO-AdaMU: the weights of its mixture are the figure's, and its steps are those of a twin that holds everything."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from tightfit.memory.cost import Cost
from tightfit.memory.table import layer_table
from tightfit.models.lenet5 import lenet5
from tightfit.numerics.noise.perturbation import Perturbation
from tightfit.optimizers.base import Batch
from tightfit.optimizers.descents.momentum import Momentum
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.directions.torch_legacy import TorchLegacy
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.zo_adamu import FORMS, ZOAdaMU
from tightfit.run.evaluate import cross_entropy

from .test_contract import tiny_batch, tiny_int8_model, tiny_model, weights

LR, EPS = 2.0**-7, 1e-3


def at(part: float, step: int) -> Batch:
    """The batch of `step`, of a training of one epoch of which `part` is over."""
    return replace(tiny_batch(step), epoch=part)


@pytest.mark.parametrize(
    ("form", "part", "expected"),
    [
        ("paper", 0.0, (1.0, 1.0, 1.0)),
        ("paper", 1 / 6, (1.0, 1.0, 1.0)),
        ("paper", 2 / 3, (0.473, 0.146, 0.01)),  # read off Figure 1: 0.47, 0.15 and 0.01
        ("paper", 1.0, (0.473, 0.146, 0.01)),
        ("code", 0.05, (1.0, 1.0, 1.0)),
        ("code", 0.8, (0.0100, 0.1314, 0.0120)),  # ½ (1 + cos(π 14,976 / (20,000 − φ 4,000)))
        ("code", 2.0, (0.0100, 0.1314, 0.0120)),
    ],
)
def test_the_mixture_falls_as_each_source_has_it(form: str, part: float, expected: tuple[float, ...]) -> None:
    assert FORMS[form].weights(part) == pytest.approx(expected, abs=1e-3)


def test_the_codes_weights_are_those_of_its_loop_where_it_counts_once_a_step() -> None:
    steps, limit = 20_000, 20_000.0
    for step in range(1024, 16_000):
        if step % 997 == 0:
            in_loop = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * (step - 1024) / limit, dtype=torch.float64)))
            assert FORMS["code"].weights(step / steps)[0] == pytest.approx(in_loop.item(), abs=1e-9)
        limit -= (steps - 16_000) / (16_000 - 1024)


def test_before_the_weights_fall_it_is_mezo_bit_for_bit_with_directions_of_signs() -> None:
    """It draws two numbers for each weight, so its directions are those of every other step of MeZO."""
    signs = Independent("rademacher")
    first = ZOAdaMU(LR, EPS, restore="exact", direction=signs, epochs=1).bind(tiny_model(), cross_entropy, 0)
    second = MeZO(LR, EPS, restore="exact", direction=signs).bind(tiny_model(), cross_entropy, 0)
    for step in range(4):
        first.step(at(0.0, step))
        second.step(replace(tiny_batch(step), step=2 * step))
    assert torch.equal(weights(first), weights(second))


def drawn(step: int) -> list[torch.Tensor]:
    """Both draws of the step as long tensors."""
    both = []
    for query in (0, 1):
        zeros = [(name, nn.Parameter(torch.zeros_like(p))) for name, p in tiny_model().named_parameters()]
        Perturbation(zeros, seed=0, queries=2).add_(1.0, step, query)
        both.append(torch.cat([zero.data.flatten() for _, zero in zeros]).double())
    return both


@pytest.mark.parametrize("restore", ["merged", "exact"])
@pytest.mark.parametrize("form", FORMS)
def test_steps_are_those_of_a_twin_that_holds_all(form: str, restore: Any) -> None:
    parts = [0.0, 0.3, 0.5, 0.7, 0.9]
    learner = ZOAdaMU(LR, EPS, restore=restore, epochs=1, form=form).bind(tiny_model(), cross_entropy, 0)
    slopes = [learner.step(at(part, step)).scalars["slope"] for step, part in enumerate(parts)]
    position = nn.utils.parameters_to_vector(tiny_model().parameters()).detach().double()
    kept = torch.zeros_like(position)
    for step, (part, slope) in enumerate(zip(parts, slopes, strict=True)):
        alpha, beta1, beta2 = FORMS[form].weights(part)
        first, second = drawn(step)
        around_zero, around_kept = alpha**0.5 * first, kept + (1 - alpha) ** 0.5 * second
        direction = beta1 * around_zero + (1 - beta1) * around_kept
        twin = tiny_model().double()
        losses = []
        for side in (EPS, -EPS):
            nn.utils.vector_to_parameters(position + side * direction, twin.parameters())
            losses.append(cross_entropy(lambda x, of=twin: of(x.double()), tiny_batch(step)).item())
        assert slope == pytest.approx((losses[0] - losses[1]) / (2 * EPS), abs=1e-3)
        square = beta2 * around_zero**2 + (1 - beta2) * around_kept**2
        position = position - LR * slope * direction / (square + 1e-8).sqrt()
        kept = direction * (1.0 if form == "paper" or slope > 0 else -1.0)
    torch.testing.assert_close(weights(learner).double(), position, rtol=1e-4, atol=1e-4)


def test_state_and_sweeps_are_planned_for() -> None:
    table = layer_table(lenet5(10, 0), (1, 28, 28))
    method = ZOAdaMU(LR, EPS, epochs=1)
    assert method.memory(table, 8).optimizer_state == MeZO(LR, EPS).memory(table, 8).parameters
    assert method.cost(table, 8) == Cost(forward=2, sweeps=9)
    assert replace(method, restore="exact").cost(table, 8) == Cost(forward=2, sweeps=7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "optimizer.epochs=0 is not more than 0"),
        ({"form": "blog"}, "form='blog' is no rule of zo_adamu; choose paper or code"),
        ({"queries": 2}, "queries=2 but zo_adamu keeps one direction a step"),
        ({"descent": Momentum()}, "descent=momentum but zo_adamu makes its own"),
        ({"direction": TorchLegacy()}, "direction=torch_legacy, .* zo_adamu makes its own"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ZOAdaMU(LR, EPS, **{"epochs": 1.0, **settings})


def test_a_model_of_integers_is_refused() -> None:
    with pytest.raises(ValueError, match="optimizer=zo_adamu trains floating point"):
        ZOAdaMU(LR, EPS, epochs=1.0).bind(tiny_int8_model(), cross_entropy, 0)
