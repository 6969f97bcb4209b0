"""AdaZeta averages over more and more directions, and none of them twice; with one or the most of them it is MeZO."""

from typing import Any

import pytest
import torch

from tests.synthetic import adapted
from tightfit.models.adapters.tt import TensorTrains
from tightfit.optimizers.adazeta import AdaZeta
from tightfit.optimizers.base import Batch, Learner
from tightfit.optimizers.mezo import MeZO
from tightfit.run.evaluate import cross_entropy

from .test_conformance import Model, at_rest
from .test_contract import tiny_batch, tiny_model, weights


def trained(method: Any, **known: Any) -> Learner:
    model = adapted(tiny_model(), TensorTrains(2, 4, 2, **known))
    learner = method.bind(model, cross_entropy, 0)
    for step in range(5):
        learner.step(tiny_batch(step))
    return learner


@pytest.mark.parametrize("restore", ["merged", "exact"])
@pytest.mark.parametrize(
    ("settings", "queries"), [({"queries": 1}, 1), ({"queries": 3, "scale": 50.0, "power": 0.0}, 3)]
)
def test_with_one_direction_or_always_the_most_it_is_mezo_bit_for_bit(
    restore: Any, settings: dict[str, Any], queries: int
) -> None:
    mezo = trained(MeZO(0.03, 1e-3, queries=queries, restore=restore), start="gaussian")
    ours = trained(AdaZeta(0.03, 1e-3, restore=restore, **settings), start="gaussian")
    assert torch.equal(weights(mezo), weights(ours))


def test_directions_grow_with_epochs_between_one_and_the_most() -> None:
    method = AdaZeta(0.1, 0.1)
    assert [method.queries_at(epoch) for epoch in (0, 3.9, 4, 15.9, 16, 400.5, 899.9, 900, 10_000)] == [
        *(1, 1, 1, 1, 2, 10, 14, 15, 15)
    ]


def at(step: int, epoch: float) -> Batch:
    return Batch(torch.empty(0), torch.empty(0), step, epoch)


def probed_in(epochs: list[float]) -> list[bytes]:
    """The weights at every pass, at rest or not, of steps at a rate of 0 in these epochs."""
    model, seen = Model([(3, 7)]), []

    def objective(model: Any, _: Batch) -> torch.Tensor:
        seen.append(model().detach().numpy().tobytes())
        return torch.zeros(())

    learner = AdaZeta(0.0, 0.25, queries=5, scale=1.0, power=1.0, restore="exact").bind(model, objective, 0)
    reports = [learner.step(at(step, epoch)) for step, epoch in enumerate(epochs)]
    assert [report.read().forward_passes for report in reports] == [2 * max(1, min(5, int(e))) for e in epochs]
    return seen


def test_no_direction_is_probed_twice_however_their_number_changes() -> None:
    seen = probed_in([5, 4, 3, 2, 1, 1, 1, 2, 2, 3, 5, 5, 1, 2])
    assert len(set(seen)) == len(seen)


def test_a_step_moves_by_the_mean_over_the_directions_that_it_probed() -> None:
    model, losses = Model([(40,)]), []
    target = torch.randn(at_rest(model).shape, generator=torch.Generator().manual_seed(1))
    probed: list[torch.Tensor] = []

    def objective(model: Any, _: Batch) -> torch.Tensor:
        probed.append(model().detach().double())
        losses.append(float(probed[-1] @ target.double()))
        return torch.tensor(losses[-1])

    before = at_rest(model).double()
    AdaZeta(0.5, 0.25, queries=4, scale=1.0, power=1.0, restore="exact").bind(model, objective, 0).step(at(7, 2.0))
    directions = [(probed[place] - before) / 0.25 for place in (0, 2)]
    expected = -0.5 * sum((z @ target.double()) * z for z in directions) / 2
    assert (at_rest(model).double() - before - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize("wrong", [{"scale": -1.0}, {"power": 100.0}])
def test_settings_out_of_range_are_refused_in_a_sentence(wrong: dict[str, float]) -> None:
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=f"optimizer.{name}={value} is not from 0 to 100; choose"):
        AdaZeta(0.1, 0.1, **wrong)
