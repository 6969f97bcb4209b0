"""Anchors alone are MeZO on the large batch; after one, what batches add to a slope cancels, and the step says why."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tightfit.memory.measured import peak_live_bytes
from tightfit.optimizers.base import Batch, Learner
from tightfit.optimizers.descents.sign import Sign
from tightfit.optimizers.directions.torch_legacy import TorchLegacy
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.mezo_svrg import MeZOSVRG, MeZOSVRGLearner
from tightfit.optimizers.schedules import Power
from tightfit.run.evaluate import cross_entropy

from .test_conformance import SHAPES, Held, Model, at_rest, batch
from .test_contract import tiny_batch, tiny_model, weights

LR, ANCHOR_LR = 0.5, 0.25


def steps(method: Any, objective: Any, model: nn.Module, count: int) -> Learner:
    learner = method.bind(model, objective, 0)
    for step in range(count):
        learner.step(tiny_batch(step))
    return learner


@pytest.mark.parametrize("restore", ["merged", "exact"])
@pytest.mark.parametrize("clip", [0.1, float("inf")])
def test_anchors_alone_of_one_batch_are_mezo_bit_for_bit(restore: Any, clip: float) -> None:
    shared: dict[str, Any] = {"eps": 1e-3, "clip": clip, "queries": 2, "restore": restore}
    mezo = steps(MeZO(0.01, **shared), cross_entropy, tiny_model(), 5)
    anchors = steps(MeZOSVRG(9.0, anchor_lr=0.01, period=1, **shared), cross_entropy, tiny_model(), 5)
    assert torch.equal(weights(mezo), weights(anchors))


def test_anchors_alone_of_several_batches_are_mezo_on_all_of_their_examples() -> None:
    anchors = steps(
        MeZOSVRG(9.0, 1e-2, anchor_lr=0.1, period=1, anchor_batches=3, restore="exact"), cross_entropy, tiny_model(), 2
    )
    before = weights(anchors)
    assert torch.equal(before, torch.cat([parameter.flatten() for parameter in tiny_model().parameters()]))
    anchors.step(tiny_batch(2))
    three = [tiny_batch(step) for step in range(3)]
    large = Batch(torch.cat([b.inputs for b in three]), torch.cat([b.labels for b in three]), 0, 0.0)
    mezo = MeZO(0.1, 1e-2, restore="exact").bind(tiny_model(), cross_entropy, 0)
    mezo.step(large)
    assert (weights(anchors) - weights(mezo)).norm() < 1e-4 * (weights(mezo) - before).norm()


def linear(model: Any, batch: Batch) -> torch.Tensor:
    """Of another slope in each batch."""
    answers = model()
    return answers @ torch.randn(answers.shape, generator=torch.Generator().manual_seed(batch.step)) / 1000


def test_at_the_anchor_a_step_moves_by_its_slope_alone_exactly() -> None:
    """Whatever the batch: nothing has moved since, and both slopes are of one z."""
    method = MeZOSVRG(LR, 0.25, anchor_lr=0.0, queries=2, restore="exact")
    learner, again = (method.bind(Model(SHAPES), linear, 0) for _ in range(2))
    for each in (learner, again):
        assert isinstance(each, MeZOSVRGLearner)
        each.step(batch(4))
    assert torch.equal(at_rest(learner.resting_model()), at_rest(Model(SHAPES)))
    learner.step(batch(5))
    again._update(LR, again._slopes, batch(4))
    assert torch.equal(at_rest(learner.resting_model()), at_rest(again.resting_model()))


def share_of_the_batch(spoil: Callable[[Any], None] | None = None) -> float:
    """For a linear loss: how much of a step after an anchor is due to its batch, and not to the anchor."""
    learner = MeZOSVRG(LR, 0.25, anchor_lr=ANCHOR_LR).bind(Model(SHAPES), linear, 0)
    if spoil is not None:
        spoil(learner)
    states = [at_rest(learner.resting_model())]
    for step in (0, 1):
        learner.step(batch(step))
        states.append(at_rest(learner.resting_model()))
    at_anchor, after = states[1] - states[0], states[2] - states[1]
    return float((after - LR / ANCHOR_LR * at_anchor).norm() / after.norm())


def test_what_a_batch_adds_at_both_places_cancels() -> None:
    assert share_of_the_batch() < 1e-3  # of the rounding of float32 losses


def test_another_direction_for_the_anchor_is_found() -> None:
    """The fault of the public code."""

    def draws_another(learner: Any) -> None:
        move = learner._probe_of_anchor.at
        learner._probe_of_anchor.at = lambda scale, step, query, **known: move(scale, step + 1000, query, **known)

    assert share_of_the_batch(draws_another) > 0.1


def test_an_anchor_that_moves_with_the_weights_is_found() -> None:
    """The other fault of the public code. Of a quadratic loss, where slopes at the two places differ."""

    def difference(spoil: Callable[[Any], None] | None = None) -> float:
        model = Held(nn.Parameter(torch.ones(100)))
        learner: Any = MeZOSVRG(1.0, 0.1, anchor_lr=0.1).bind(model, lambda m, _: m().square().sum() / 2, 0)
        learner.step(batch(0))
        if spoil is not None:
            spoil(learner)
        moved = []
        learner._update = lambda lr, slopes, batch: moved.append(slopes[0])
        learner.step(batch(1))
        return abs(moved[0])

    def aliases(learner: Any) -> None:
        learner._anchor["weight"].copy_(learner.resting_model().weight)

    assert difference() > 0.1
    assert difference(aliases) < 0.01


def test_the_anchor_is_the_one_buffer_of_the_weights_size() -> None:
    model = nn.Sequential(*(nn.Linear(256, 256) for _ in range(8)))
    given = Batch(torch.zeros(1, 256), torch.zeros(1, dtype=torch.int64), 0, 0.0)

    def two_steps() -> None:
        learner = MeZOSVRG(0.1, 0.1, anchor_lr=0.1).bind(model, cross_entropy, 0)
        for step in range(2):
            learner.step(Batch(given.inputs, given.labels, step, 0.0))

    size = sum(parameter.nbytes for parameter in model.parameters())
    peak = peak_live_bytes(two_steps, model.parameters(), uncounted=(given.inputs, given.labels))
    assert 2.0 < peak / size < 2.3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"period": 0}, "period=0 but a cycle has an anchor of at least one batch; choose 1 or more"),
        ({"anchor_batches": 0}, "anchor_batches=0 but a cycle has an anchor of at least one batch; choose 1 or more"),
        ({"anchor_lr": -1.0}, "optimizer.anchor_lr=-1.0 is not a finite number from 0; choose"),
        ({"descent": Sign()}, "descent=sign but mezo_svrg moves by its slopes alone; choose descent=plain"),
        ({"growth": Power(0.5, 0.5)}, "growth says how directions become more, but mezo_svrg .*; leave it null"),
        ({"direction": TorchLegacy()}, "mezo_svrg returns to the directions of an anchor; choose direction=gaussian"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MeZOSVRG(**{"lr": 0.1, "eps": 0.1, "anchor_lr": 0.1, **wrong})
