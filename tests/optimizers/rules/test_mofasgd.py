"""MoFaSGD at full rank keeps the whole momentum and steps along its polar factor; below, the best of low rank."""

from typing import Any

import pytest
import torch

from tightfit.optimizers.rules.mofasgd import MoFaSGD, directions_of_sum
from tightfit.optimizers.rules.muon import Muon

from .stepping import begun, gradients, random, stepped

LR = 1e-2


def state_of(stepper: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    kept = stepper.state_dict()["states"]["layer.weight"]
    return kept["u"], kept["sigma"], kept["v"]


def polar_factor(matrix: torch.Tensor) -> torch.Tensor:
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    return u @ vh


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (6, 6), (9, 2)])
def test_at_full_rank_it_keeps_the_sum_of_gradients_and_steps_along_its_polar_factor(shape: tuple[int, int]) -> None:
    stepper, parameter = begun(MoFaSGD(rank=100, beta=0.8), random(*shape))
    momentum = torch.zeros(shape, dtype=torch.float64)
    for gradient in gradients(30, *shape):
        momentum = 0.8 * momentum + gradient
        before = parameter.detach().clone()
        parameter.grad = gradient
        stepper.step_(LR)
        u, sigma, v = state_of(stepper)
        torch.testing.assert_close((u * sigma) @ v.T, momentum, rtol=0, atol=1e-12)
        torch.testing.assert_close((before - parameter.detach()) / LR, polar_factor(momentum), rtol=0, atol=1e-11)


@pytest.mark.parametrize("shape", [(8, 6), (6, 8), (8, 4)])
def test_it_keeps_the_best_of_low_rank_of_the_momentum_and_what_of_a_gradient_is_tangent(
    shape: tuple[int, int],
) -> None:
    """Also where QR has fewer columns than 2r."""
    r = 3
    u, v = (torch.linalg.qr(random(side, r, seed=side))[0] for side in shape)
    sigma, g = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64), random(*shape, seed=1)
    tangent = u @ u.T @ g + g @ v @ v.T - u @ u.T @ g @ v @ v.T
    left, sigmas, right = torch.linalg.svd(0.9 * (u * sigma) @ v.T + tangent, full_matrices=False)
    expected = (left[:, :r] * sigmas[:r]) @ right[:r]
    found = directions_of_sum(u, 0.9 * sigma, v, g)
    torch.testing.assert_close((found[0] * found[1]) @ found[2].T, expected, rtol=0, atol=1e-13)


def test_it_steps_nearly_as_muon_with_an_exact_polar_factor() -> None:
    """PyTorch's iterations leave singular values between 0.7 and 1.2, in bfloat16: alike in direction alone."""
    weights, first = random(16, 24, dtype=torch.float32), [random(16, 24, seed=1, dtype=torch.float32)]
    moved = [
        (stepped(rule, weights, first) - weights).flatten()
        for rule in (MoFaSGD(rank=16), Muon(momentum=0.0, adjust="original"))
    ]
    assert torch.cosine_similarity(*moved, dim=0) > 0.97
    assert moved[0].norm() / moved[1].norm() == pytest.approx(1, abs=0.25)


def test_its_factors_stay_orthonormal_over_a_thousand_steps() -> None:
    stepper, parameter = begun(MoFaSGD(rank=4), random(12, 18, dtype=torch.float32))
    for gradient in gradients(1000, 12, 18, dtype=torch.float32):
        parameter.grad = gradient
        stepper.step_(1e-4)
    for factor in (state_of(stepper)[0], state_of(stepper)[2]):
        torch.testing.assert_close(factor.T @ factor, torch.eye(4), rtol=0, atol=1e-5)  # a few units of float32


@pytest.mark.parametrize("step", ["paper", "code"])
def test_gradients_of_rank_one_make_steps_of_rank_one(step: Any) -> None:
    one = random(12, 1, seed=1) @ random(1, 18, seed=2)
    moved = stepped(MoFaSGD(rank=4, step=step), random(12, 18), [one, 2 * one, -5 * one]) - random(12, 18)
    values = torch.linalg.svdvals(moved)
    assert values[1] < 1e-9 * values[0]


@pytest.mark.parametrize("step", ["paper", "code"])
def test_a_gradient_of_zero_moves_nothing(step: Any) -> None:
    weights = random(6, 8)
    zeros = [torch.zeros(6, 8, dtype=torch.float64)] * 3
    assert torch.equal(stepped(MoFaSGD(rank=3, step=step), weights, zeros), weights)


def test_the_step_of_the_code_divides_by_singular_values_up_to_its_cap_and_adds_what_lies_beyond() -> None:
    rule, g = MoFaSGD(rank=3, step="code", eta1=0.5, eta2=0.25, cap=0.3), random(5, 7)
    u, sigma, vh = torch.linalg.svd(g, full_matrices=False)
    along = u[:, :3] * (0.5 * sigma[:3].reciprocal().clamp_max(0.3)) @ vh[:3]
    beyond = u[:, 3:] * sigma[3:] @ vh[3:]
    weights = random(5, 7, seed=3)
    moved = (weights - stepped(rule, weights, [g])) / LR
    torch.testing.assert_close(moved, along + 0.25 * beyond, rtol=0, atol=1e-12)


def test_the_first_directions_are_those_of_an_svd_of_the_first_gradient() -> None:
    """A sketch finds what stands out: here the first three of singular values that halve."""
    u, v = (torch.linalg.qr(random(side, 10, seed=side))[0] for side in (40, 30))
    g = (u * 0.5 ** torch.arange(10)) @ v.T
    stepper, parameter = begun(MoFaSGD(rank=3), random(40, 30))
    parameter.grad = g
    stepper.step_(LR)
    torch.testing.assert_close(state_of(stepper)[1], 0.5 ** torch.arange(3, dtype=torch.float64), rtol=1e-5, atol=0)


def test_gradients_that_are_not_finite_show_in_the_weights() -> None:
    for value in (float("nan"), float("inf")):
        bad = torch.full((5, 7), value, dtype=torch.float64)
        for before in ([], [random(5, 7, seed=1)]):
            assert not stepped(MoFaSGD(rank=3), random(5, 7), [*before, bad]).isfinite().any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rule.rank=0 but a momentum has at least one direction; choose 1 or more"),
        ({"rank": 1.5}, "rule.rank=1.5 but"),
        ({"step": "both"}, "rule.step='both' is no step; choose paper or code"),
        ({"beta": 1.0}, "rule.beta=1.0 is not from 0 to less than 1"),
        ({"cap": 0.0}, "rule.cap=0.0 is not more than 0"),
        ({"eta2": -1.0}, "rule.eta2=-1.0 is not finite and from 0"),
        ({"adam_rate": float("inf")}, "rule.adam_rate=inf is not finite"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MoFaSGD(**settings)
