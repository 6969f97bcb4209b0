"""Where no curvature is learned HiZOO is MeZO, bit for bit; what it learns has the mean that it says; it moves as it
probed."""

from typing import Any

import pytest
import torch
from torch import nn

from tightfit.optimizers.base import Batch
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.directions.torch_legacy import TorchLegacy
from tightfit.optimizers.hizoo import HiZOO, HiZOOLearner
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.schedules import Power
from tightfit.run.evaluate import cross_entropy

from .test_conformance import Held, Model, at_rest, batch
from .test_contract import tiny_batch, tiny_model

QUADRATIC = torch.diag(torch.arange(1.0, 7.0)) + 0.5
MANY = 3_000


@pytest.mark.parametrize("curvature", ["published", "exact"])
@pytest.mark.parametrize(("restore", "dtype"), [("merged", "float32"), ("exact", "float32"), ("exact", "bfloat16")])
def test_it_is_mezo_bit_for_bit_where_no_curvature_is_learned(restore: Any, dtype: str, curvature: Any) -> None:
    shared: dict[str, Any] = {"lr": 0.01, "eps": 0.01, "queries": 2, "restore": restore}
    states = []
    for method in (MeZO(**shared), HiZOO(**shared, alpha=0.0, curvature=curvature)):
        model = tiny_model().to(getattr(torch, dtype))
        learner = method.bind(model, lambda m, b: cross_entropy(lambda x: m(x.to(getattr(torch, dtype))), b), 0)
        for step in range(5):
            learner.step(tiny_batch(step))
        states.append(learner.resting_model().state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_curvature_is_learned_along_as_many_directions_as_a_step_has() -> None:
    learner = HiZOO(0.01, 1e-3, queries=3, alpha=0.1, growth=Power(10.0, 1.0)).bind(tiny_model(), cross_entropy, 0)
    passes = [learner.step(tiny_batch(step)).read().forward_passes for step in range(5)]  # of a tenth of an epoch each
    assert passes == [3, 3, 5, 7, 7]


def bound(method: HiZOO, model: nn.Module, objective: Any) -> HiZOOLearner:
    learner = method.bind(model, objective, 0)
    assert isinstance(learner, HiZOOLearner)
    return learner


@pytest.mark.slow
@pytest.mark.parametrize(("curvature", "common"), [("published", 0.5 * float(QUADRATIC.trace())), ("exact", 0.0)])
def test_mean_of_what_a_step_teaches_is_the_diagonal_of_the_hessian(curvature: Any, common: float) -> None:
    """Of half w·Aw, from H = 1. In the published form with half the trace of A on top."""
    alpha = 1e-3
    method = HiZOO(0.0, 1.0, alpha=alpha, curvature=curvature, restore="exact", direction=Independent("gaussian"))
    learner = bound(method, Held(nn.Parameter(torch.zeros(6))), lambda m, _: m() @ QUADRATIC @ m() / 2)
    total = torch.zeros(6, dtype=torch.float64)
    (learned,) = learner.curvature().values()
    for step in range(MANY):
        learned.fill_(1.0)
        learner.step(batch(step))
        total += (learned.double() - (1 - alpha)) / alpha
    expected = QUADRATIC.diag() + common
    # Each estimate has a deviation of about 25: five standard errors, a fifth of what the two forms differ by.
    assert (total / MANY).numpy() == pytest.approx(expected.numpy(), abs=5 * 25 / MANY**0.5)


def test_no_step_takes_an_estimate_below_half_of_what_it_was() -> None:
    model = Held(nn.Parameter(torch.zeros(1000)))
    learner = bound(HiZOO(0.0, 1.0, alpha=1.0, curvature="exact"), model, lambda m, _: -(m() ** 2).sum())
    (learned,) = learner.curvature().values()
    for step in range(3):
        before = learned.clone()
        learner.step(batch(step))
        assert (learned >= before / 2).all()
        assert (learned == before / 2).any()


def step_along_a_learned_direction(spoil: Any = None) -> torch.Tensor:
    """The part of the second step's change that does not lie along what it probed, over the change."""
    model, probed = Model([(3, 37), (1003,)]), []
    target = torch.randn(at_rest(model).shape, generator=torch.Generator().manual_seed(1))

    def objective(model: Any, _: Batch) -> torch.Tensor:
        probed.append(model().detach().clone())
        return (probed[-1] @ target).square() / 1000

    learner = bound(HiZOO(1e-2, 0.25, alpha=0.5), model, objective)
    learner.step(batch(3))
    if spoil is not None:
        spoil(learner)
    before = at_rest(learner.resting_model())
    learner.step(batch(4))
    curvatures = torch.cat(list(learner.curvature().values()))
    assert curvatures.max() > 2 * curvatures.min()
    probe, change = (probed[4] - probed[5]).double(), (at_rest(learner.resting_model()) - before).double()
    assert change.norm() > 0
    return (change - (probe @ change) / (probe @ probe) * probe).norm() / change.norm()


def test_direction_probed_is_direction_applied_where_curvature_was_learned() -> None:
    assert step_along_a_learned_direction() < 1e-4


def test_a_move_by_the_curvature_that_the_probe_taught_is_found() -> None:
    def learns_before_it_moves(learner: Any) -> None:
        update, learn = learner._update, learner._learn_curvature

        def updated(lr: float, slopes: list[float], batch: Batch) -> None:
            learner._probe.rest()
            learn([100.0], batch)
            update(lr, slopes, batch)

        learner._update = updated

    assert step_along_a_learned_direction(learns_before_it_moves) > 1e-2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"alpha": 1.5}, "optimizer.alpha=1.5 is not from 0 to 1; choose"),
        ({"curvature": "full"}, "curvature='full' is no estimate; choose published or exact"),
        (
            {"direction": Independent("torch_gaussian")},
            "scales independent numbers drawn by counters; choose",
        ),
        ({"direction": TorchLegacy()}, "scales independent numbers drawn by counters; choose"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        HiZOO(**{"lr": 0.1, "eps": 0.1, **wrong})
