"""FOAM between its ends: blocks of one weight are Adam, and a gradient that is constant in blocks is Adam's too."""

import math
from typing import Any

import pytest
import torch

from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.foam import FOAM, SecondMoment

from .stepping import begun, gradients, random, stepped

both = pytest.mark.parametrize("second_moment", ["mean_of_squares", "square_of_mean"])


def slowly(rule: FOAM, weights: torch.Tensor, of_steps: list[torch.Tensor], lr: float) -> torch.Tensor:
    """The rule's equations, block by block and number by number."""
    rows, width = weights.shape
    size = 2**rule.level
    blocks = [range(start, min(start + size, width)) for start in range(0, width, size)]
    kept = {(row, place): (0.0, 0.0) for row in range(rows) for place in range(len(blocks))}
    weights = weights.clone()
    for step, g in enumerate(of_steps, 1):
        for (row, place), (m, v) in kept.items():
            block = blocks[place]
            mean = sum(float(g[row, i]) for i in block) / len(block)
            square = sum(float(g[row, i]) ** 2 for i in block) / len(block)
            if rule.second_moment == "square_of_mean":
                square = mean**2
            m = rule.beta1 * m + (1 - rule.beta1) * mean
            v = rule.beta2 * v + (1 - rule.beta2) * square
            kept[row, place] = (m, v)
            for i in block:
                r = rule.residual * (float(g[row, i]) - mean)
                root = math.sqrt(v + r * r) / math.sqrt(1 - rule.beta2**step) + rule.eps
                weights[row, i] -= lr * rule.alpha * (m + r) / (1 - rule.beta1**step) / root
    return weights


@both
@pytest.mark.parametrize(("level", "width"), [(0, 7), (1, 7), (2, 8), (2, 9), (5, 7)])
def test_it_steps_as_its_equations_say(second_moment: SecondMoment, level: int, width: int) -> None:
    rule = FOAM(level=level, second_moment=second_moment, residual=0.7)
    weights, of_steps = random(3, width), list(gradients(4, 3, width))
    expected = slowly(rule, weights, of_steps, 1e-2)
    torch.testing.assert_close(stepped(rule, weights, of_steps), expected, rtol=1e-10, atol=1e-12)


@both
def test_blocks_of_one_weight_are_adam(second_moment: SecondMoment) -> None:
    rule = FOAM(level=0, alpha=1.0, second_moment=second_moment)
    for shape in ((5, 7), (4, 2, 3, 3)):
        weights = random(*shape)
        found, expected = (stepped(each, weights, gradients(20, *shape)) for each in (rule, Adam()))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@both
@pytest.mark.parametrize("width", [8, 9])
def test_a_gradient_that_is_constant_in_blocks_is_stepped_by_adam(second_moment: SecondMoment, width: int) -> None:
    """Also where the last block is not full: it is divided by how many weights it has."""
    weights = random(3, width)
    constant = [each.repeat_interleave(4, dim=1)[:, :width] for each in gradients(20, 3, 3)]
    rule = FOAM(level=2, alpha=1.0, second_moment=second_moment)
    torch.testing.assert_close(stepped(rule, weights, constant), stepped(Adam(), weights, constant), rtol=0, atol=1e-9)


def test_without_the_residual_all_weights_of_a_block_move_alike() -> None:
    weights = random(3, 8)
    moved = (stepped(FOAM(level=2, residual=0.0), weights, gradients(5, 3, 8)) - weights).view(3, 2, 4)
    torch.testing.assert_close(moved, moved[:, :, :1].expand(-1, -1, 4))
    assert moved.abs().min() > 0


def test_the_two_second_moments_differ_by_the_size_of_a_block_on_white_noise() -> None:
    kept = {}
    for second_moment in ("mean_of_squares", "square_of_mean"):
        stepper, parameter = begun(FOAM(level=2, second_moment=second_moment, beta2=0.9), random(64, 256))
        for gradient in gradients(40, 64, 256):
            parameter.grad = gradient
            stepper.step_(1e-3)
        kept[second_moment] = stepper.state_dict()["states"]["layer.weight"]["square"].mean()
    assert kept["mean_of_squares"] / kept["square_of_mean"] == pytest.approx(4, rel=0.05)  # 4,096 blocks, 10 steps


def test_vectors_and_embeddings_are_stepped_by_adam() -> None:
    for name, shape in (("layer.bias", (8,)), ("lm.model.embed_tokens.weight", (6, 8)), ("lm.lm_head.weight", (2, 8))):
        results = []
        for rule in (FOAM(level=3), Adam()):
            stepper, parameter = begun(rule, random(*shape), name)
            parameter.grad = random(*shape, seed=1)
            stepper.step_(1e-2)
            results.append(parameter.detach())
        assert torch.equal(*results)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": -1}, "rule.level=-1 is no whole number from 0 to 30; choose one"),
        ({"level": 1.5}, "rule.level=1.5 is no whole number"),
        ({"alpha": -1.0}, "rule.alpha=-1.0 is not finite and from 0"),
        ({"residual": float("nan")}, "rule.residual=nan is not finite"),
        ({"second_moment": "mean"}, "rule.second_moment='mean' is not kept; choose mean_of_squares or square_of_mean"),
        ({"beta1": 1.0}, "rule.beta1=1.0 is not from 0 to less than 1"),
        ({"by_adam": "("}, r"rule.by_adam='\(' is no regular expression .*; write one, such as embed|lm_head"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FOAM(**settings)
