"""A pool that is larger than the run is MeZO; from any other, one sum for each seed gives the run again."""

from typing import Any

import pytest
import torch

from tightfit.optimizers.base import Learner
from tightfit.optimizers.descents.sign import Sign
from tightfit.optimizers.directions.torch_legacy import TorchLegacy
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.schedules import StepDecay
from tightfit.optimizers.seed_pool import SeedPool, SeedPoolLearner
from tightfit.run.evaluate import cross_entropy

from .test_contract import tiny_batch, tiny_model, weights

STEPS = 40


def trained(method: Any, steps: int = STEPS, seed: int = 0) -> Learner:
    learner = method.bind(tiny_model(), cross_entropy, seed)
    for step in range(steps):
        learner.step(tiny_batch(step))
    return learner


@pytest.mark.parametrize("restore", ["merged", "exact"])
def test_a_pool_of_a_seed_for_each_query_is_mezo_bit_for_bit(restore: Any) -> None:
    shared: dict[str, Any] = {"lr": 0.01, "eps": 1e-3, "queries": 2, "restore": restore}
    pools = [trained(SeedPool(**shared, pool=pool, draw="cycle")) for pool in (2 * STEPS, 2 * STEPS - 1)]
    mezo = weights(trained(MeZO(**shared)))
    assert torch.equal(weights(pools[0]), mezo)
    assert not torch.equal(weights(pools[1]), mezo)


@pytest.mark.parametrize("draw", ["uniform", "cycle"])
@pytest.mark.parametrize("restore", ["merged", "exact"])
def test_one_sum_for_each_seed_gives_the_run_again(restore: Any, draw: Any) -> None:
    """Whatever became of the rate on the way."""
    rate = StepDecay(0.05, 0.5, 1.0)
    method = SeedPool(rate, 1e-3, clip=5.0, queries=2, restore=restore, pool=7, draw=draw)
    learner = trained(method)
    assert isinstance(learner, SeedPoolLearner)
    assert (learner.sums != 0).all()
    model = tiny_model()
    method.move_(model, learner.sums, seed=0)
    again = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    before = torch.cat([parameter.detach().flatten() for parameter in tiny_model().parameters()])
    assert (again - weights(learner)).norm() < 1e-4 * (again - before).norm()


def test_all_steps_of_a_pool_of_one_lie_on_a_line() -> None:
    before = torch.cat([parameter.detach().flatten() for parameter in tiny_model().parameters()])
    changes = [weights(trained(SeedPool(0.01, 1e-3, pool=1), steps)) - before for steps in (1, 10)]
    assert abs(torch.cosine_similarity(*changes, dim=0)) > 0.9999


def test_draws_by_chance_are_even_and_depend_on_the_seed() -> None:
    model = tiny_model()
    counts = []
    for seed in (0, 1):
        perturbation = SeedPool(0.1, 0.1, pool=10).perturbation(model, seed)
        counts.append(torch.bincount(torch.tensor([perturbation.counter(step, 0) for step in range(10_000)])))
        assert len(counts[-1]) == 10
        assert ((counts[-1] - 1000).abs() < 150).all()  # five deviations of √900
    assert not torch.equal(*counts)


def test_sums_are_saved_and_go_on() -> None:
    method = SeedPool(0.01, 1e-3, pool=5)
    whole, part = trained(method, 8), trained(method, 3)
    resumed = method.bind(tiny_model(), cross_entropy, 0)
    resumed.load_state_dict(part.state_dict())
    for step in range(3, 8):
        resumed.step(tiny_batch(step))
    assert torch.equal(whole.state_dict()["sums"], resumed.state_dict()["sums"])


def test_another_number_of_sums_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[3\] sums but pool=5; give one for each seed"):
        SeedPool(0.1, 0.1, pool=5).move_(tiny_model(), torch.zeros(3), 0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"pool": 0}, "pool=0 but a query needs a direction to draw; choose 1 or more"),
        ({"draw": "any"}, "draw='any' is no way to draw from a pool; choose uniform or cycle"),
        ({"descent": Sign()}, "descent=sign but seed_pool moves by its slopes alone; choose descent=plain"),
        ({"direction": TorchLegacy()}, "seed_pool returns to directions of other steps; choose direction=gaussian"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SeedPool(**{"lr": 0.1, "eps": 0.1, **wrong})
