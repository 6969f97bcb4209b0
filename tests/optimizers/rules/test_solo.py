"""SOLO: in 32 bits it is Adam, in few it steps by moments that are not yet rounded."""

import copy
from typing import Any

import pytest
import torch

from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.per_tensor import PIECE
from tightfit.optimizers.rules.solo import SOLO, Rounding, block_of

from .stepping import begun, gradients, random, stepped

SINGLE = torch.float32


def test_in_32_bits_it_is_adam() -> None:
    weights = random(16, 24, dtype=SINGLE)
    found, expected = (
        stepped(rule, weights, gradients(50, 16, 24, dtype=SINGLE)) for rule in (SOLO(32, 32), Adam(beta1=0.8))
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bits", [(4, 2), (2, 2), (32, 2), (4, 32), (2, 4)])
def test_its_first_step_is_adams_whatever_the_bits(bits: tuple[int, int]) -> None:
    weights = random(16, 24, dtype=SINGLE)
    found, expected = (
        stepped(rule, weights, gradients(1, 16, 24, dtype=SINGLE)) for rule in (SOLO(*bits), Adam(beta1=0.8))
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bits", [(4, 2), (2, 2)])
def test_its_steps_point_as_adams_do(bits: tuple[int, int]) -> None:
    weights, drift = torch.zeros(16, 24), random(16, 24, seed=5, dtype=SINGLE)
    of_steps = [drift + 0.5 * noise for noise in gradients(20, 16, 24, dtype=SINGLE)]
    found, expected = (stepped(rule, weights, of_steps).flatten() for rule in (SOLO(*bits, beta1=0.5), Adam(beta1=0.5)))
    assert torch.cosine_similarity(found, expected, dim=0) > 0.9


def test_codes_of_a_tensor_in_many_pieces_are_those_of_its_parts() -> None:
    """Each block knows of itself alone; in 4-bit codes of both moments and with the noise of 32-bit ones left out."""
    rule = SOLO(4, 32)
    count = 2 * PIECE + 6 * 126  # of 13 · 126, so no power of two
    count -= count % 126
    weights, gradient = random(count, dtype=SINGLE), random(count, seed=1, dtype=SINGLE)
    assert block_of(count) >= 32
    whole = stepped(rule, weights, [gradient, 2 * gradient])
    slow = slowly(weights, gradient, rule, block_of(count))
    torch.testing.assert_close(whole, slow, rtol=0, atol=1e-6)


def slowly(weights: torch.Tensor, gradient: torch.Tensor, rule: SOLO, block: int) -> torch.Tensor:
    """Two steps, with the first moment rounded between them level by level."""
    levels = torch.tensor(LEVELS_OF_FOUR_BITS)
    mean, square, weights = 0.2 * gradient, 0.001 * gradient**2, weights.clone()
    weights -= 1e-2 * (mean / 0.2) / ((square / 0.001).sqrt() + rule.eps)
    blocks = mean.view(-1, block)
    largest = blocks.abs().amax(dim=1, keepdim=True)
    nearest = (blocks[:, :, None] / largest[:, :, None] - levels).abs().argmin(dim=2)
    mean = 0.8 * (levels[nearest] * largest).flatten() + 0.2 * 2 * gradient
    square = 0.999 * square + 0.001 * 4 * gradient**2
    return weights - 1e-2 * (mean / (1 - 0.8**2)) / ((square / (1 - 0.999**2)).sqrt() + rule.eps)


HALF = (0.0055, 0.0325, 0.0775, 0.2125, 0.4375, 0.6625, 0.8875)
LEVELS_OF_FOUR_BITS = (*(-level for level in HALF), 0.0, *HALF, 1.0)


def test_codes_are_drawn_by_name_and_step_so_that_it_repeats_and_resumes() -> None:
    of_steps = list(gradients(6, 16, 24, dtype=SINGLE))
    weights = random(16, 24, dtype=SINGLE)
    part, parameter = begun(SOLO(), weights)
    for gradient in of_steps[:3]:
        parameter.grad = gradient.clone()
        part.step_(1e-2)
    resumed, continued = begun(SOLO(), parameter.detach())
    resumed.load_state_dict(copy.deepcopy(part.state_dict()))
    torch.rand(7)  # what else draws does not matter
    for gradient in of_steps[3:]:
        continued.grad = gradient.clone()
        resumed.step_(1e-2)
    assert torch.equal(continued.detach(), stepped(SOLO(), weights, of_steps))


def test_tensors_and_seeds_have_streams_of_their_own() -> None:
    kept = []
    for name, seed in (("a.weight", 0), ("b.weight", 0), ("a.weight", 1)):
        stepper, parameter = begun(SOLO(), random(16, 24, dtype=SINGLE), name, seed)
        parameter.grad = random(16, 24, seed=1, dtype=SINGLE)
        stepper.step_(1e-2)
        kept.append(stepper.state_dict()["states"][name]["square"])
    assert not torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[0], kept[2])


def kept_over_exact(rounding: Rounding) -> float:
    """What is kept of the second moment after 100 steps over what it is, in the mean over 16,384 weights."""
    rule, square = SOLO(32, 2, rounding, quantile=0.0, beta2=0.9), torch.zeros(128, 128)
    stepper, parameter = begun(rule, torch.zeros(128, 128))
    for gradient in gradients(100, 128, 128, dtype=SINGLE):
        square = 0.9 * square + 0.1 * gradient**2
        parameter.grad = gradient
        stepper.step_(0.0)
    kept = rule.square(stepper.state_dict()["states"]["layer.weight"], square)
    return float(kept.mean() / square.mean())


def test_the_second_moment_is_kept_in_the_mean_and_by_published_rounding_grows() -> None:
    """Errors of rounding add up over ten steps or so of an EMA of 0.9."""
    assert kept_over_exact("unbiased") == pytest.approx(1, abs=0.03)
    assert kept_over_exact("published") > 1.2


@pytest.mark.parametrize(("count", "block"), [(128, 128), (150, 75), (94_080, 128), (10_080, 126), (131, 1)])
def test_a_block_is_the_largest_divisor_up_to_128(count: int, block: int) -> None:
    assert block_of(count) == block
    assert SOLO().serves((count,)) == (block >= 32)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits_m": 3}, "rule.bits_m=3 has no codes; choose 2, 4 or 32"),
        ({"bits_v": 8}, "rule.bits_v=8 has no codes"),
        ({"rounding": "nearest"}, "rule.rounding='nearest' is no way to round; choose unbiased or published"),
        ({"floor": 0.0}, "rule.floor=0.0 is not between 0 and 1"),
        ({"quantile": 1.0}, "rule.quantile=1.0 is not from 0 to less than 1"),
        ({"beta2": -0.1}, "rule.beta2=-0.1 is not from 0 to less than 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SOLO(**settings)
