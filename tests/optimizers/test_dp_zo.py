"""Private slopes: what one example can do to them, what noise they have, and what the account says of it."""

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import pytest
import torch
from torch import nn

from tightfit.memory.table import layer_table
from tightfit.models.lenet5 import lenet5
from tightfit.optimizers import privacy
from tightfit.optimizers.base import Batch
from tightfit.optimizers.descents.momentum import Momentum
from tightfit.optimizers.directions.torch_legacy import TorchLegacy
from tightfit.optimizers.dp_zo import DPZO
from tightfit.optimizers.mezo import MeZO
from tightfit.run.evaluate import cross_entropy

from .test_contract import tiny_batch, tiny_int8_model, tiny_model, weights

EPS = 1e-3
OPEN = DPZO(0.01, EPS, bound=math.inf, noise_multiplier=0.0)


def slope_of(method: MeZO, batch: Batch, seed: int = 0) -> float:
    return method.bind(tiny_model(), cross_entropy, seed).step(batch).scalars["slope"]


def first_examples(count: int, step: int = 0) -> Batch:
    batch = tiny_batch(step)
    return replace(batch, inputs=batch.inputs[:count], labels=batch.labels[:count])


def test_without_bound_and_noise_it_is_mezo_bit_for_bit_on_one_example() -> None:
    own, plain = (method.bind(tiny_model(), cross_entropy, seed=0) for method in (OPEN, MeZO(0.01, EPS)))
    for step in range(5):
        own.step(first_examples(1, step))
        plain.step(first_examples(1, step))
    assert torch.equal(weights(own), weights(plain))


def test_without_bound_and_noise_it_is_mezo_on_a_batch_up_to_rounding() -> None:
    batch = tiny_batch(0)
    # Means of 64 losses in float32: 1e-7 of each, over 2 eps.
    assert slope_of(OPEN, batch) == pytest.approx(slope_of(MeZO(0.01, EPS), batch), abs=1e-3)


def test_one_example_moves_the_sum_by_no_more_than_twice_the_bound() -> None:
    """It is replaced by one whose losses differ wildly; being there or not is half of that."""
    bound = 1e-4
    method, batch = replace(OPEN, bound=bound), tiny_batch(0)
    sums, unbounded = [], []
    for scale in (1.0, 1e4, -1e4):
        inputs = batch.inputs.clone()
        inputs[7] *= scale
        changed = replace(batch, inputs=inputs)
        sums.append(slope_of(method, changed) * 2 * EPS * len(batch.labels))
        unbounded.append(slope_of(OPEN, changed) * 2 * EPS * len(batch.labels))
    assert max(sums) - min(sums) <= 2 * bound * (1 + 1e-9)
    assert max(unbounded) - min(unbounded) > 100 * bound
    assert all(abs(total) <= bound * len(batch.labels) for total in sums)


def test_noise_has_the_deviation_that_is_accounted_for_and_is_new_each_step() -> None:
    bound, multiplier, count = 0.5, 3.0, 4
    method = DPZO(0.0, EPS, bound=bound, noise_multiplier=multiplier)
    learner = method.bind(tiny_model(), lambda model, batch: torch.zeros(()) + 0 * model(0).sum(), seed=0)
    slopes = torch.tensor([learner.step(first_examples(count, step)).scalars["slope"] for step in range(2000)])
    noises = slopes * 2 * EPS * count
    assert len(set(slopes.tolist())) == len(slopes)
    assert noises.std().item() == pytest.approx(multiplier * bound, rel=0.06)  # of 2,000: ± 1.6 %
    assert abs(noises.mean().item()) < 4 * multiplier * bound / 2000**0.5


def test_a_noisy_step_moves_all_tensors_along_the_direction_that_was_probed() -> None:
    """Noise of its own for each tensor would be averaged away over them."""
    model, probed = tiny_model(), []

    def all_weights() -> torch.Tensor:
        return nn.utils.parameters_to_vector(model.parameters()).detach().clone()

    model.register_forward_hook(lambda *_: probed.append(all_weights()))
    learner = DPZO(0.5, 0.25, bound=0.5, noise_multiplier=20.0).bind(model, cross_entropy, seed=0)
    before = all_weights()
    learner.step(tiny_batch(3))
    learner.resting_model()
    probe, change = (probed[0] - probed[1]).double(), (all_weights() - before).double()
    factor = probe @ change / (probe @ probe)
    assert (change - factor * probe).norm() < 1e-5 * change.norm()


def test_noise_is_that_of_the_seed_and_not_of_the_direction() -> None:
    method = DPZO(0.01, EPS, bound=0.1, noise_multiplier=1.0)
    batch = tiny_batch(0)
    assert slope_of(method, batch, seed=1) == slope_of(method, batch, seed=1)
    quiet = replace(method, noise_multiplier=0.0)
    noises = {slope_of(method, batch, seed) - slope_of(quiet, batch, seed) for seed in range(4)}
    assert len(noises) == 4


def test_descents_take_private_slopes_as_they_are() -> None:
    """What is made of a private number is as private."""
    plain, momentum = (DPZO(0.01, EPS, bound=0.1, descent=descent) for descent in (OPEN.descent, Momentum(0.9)))
    assert slope_of(plain, tiny_batch(0)) == slope_of(momentum, tiny_batch(0))


@pytest.mark.parametrize(
    ("epoch", "step", "fraction", "begun"),
    [
        (0.0, 0, 1.0, 1),  # ten steps an epoch
        (0.9, 9, 1.0, 1),  # the last of the first epoch
        (1.0, 10, 1.0, 2),
        (2.9, 29, 1.0, 3),
        (2.9, 29, 0.5, 2),  # of which half is trained
        (0.3, 3, 10.0, 4),
    ],
)
def test_an_example_takes_part_once_in_each_epoch_that_has_begun(
    epoch: float, step: int, fraction: float, begun: int
) -> None:
    learner: Any = replace(OPEN, fraction=fraction).bind(tiny_model(), cross_entropy, seed=0)
    assert learner._epochs_begun(replace(tiny_batch(step), epoch=epoch)) == begun


def exactly(noise_multiplier: float, participations: int, delta: float) -> float:
    """Of composed Gaussian noise, which is Gaussian noise again (Balle and Wang, 2018), by bisection."""
    shift, normal = participations**0.5 / noise_multiplier, NormalDist()
    low, high = 0.0, 200.0
    for _ in range(200):
        middle = (low + high) / 2
        off = normal.cdf(shift / 2 - middle / shift) - math.exp(middle) * normal.cdf(-shift / 2 - middle / shift)
        low, high = (middle, high) if off > delta else (low, middle)
    return high


@pytest.mark.parametrize(
    ("noise_multiplier", "participations"), [(0.5, 1), (1.0, 1), (1.0, 10), (4.0, 10), (10.0, 100), (20.0, 1)]
)
def test_the_account_is_a_bound_and_close_to_the_truth(noise_multiplier: float, participations: int) -> None:
    accounted, true = (
        privacy.epsilon(noise_multiplier, participations, 1e-5),
        exactly(noise_multiplier, participations, 1e-5),
    )
    assert true <= accounted <= 1.15 * true


def test_the_account_grows_with_epochs_and_falls_with_noise() -> None:
    by_epochs = [privacy.epsilon(4.0, epochs, 1e-5) for epochs in (1, 2, 10)]
    by_noise = [privacy.epsilon(noise, 10, 1e-5) for noise in (0.0, 1.0, 2.0, 8.0)]
    assert by_epochs == sorted(set(by_epochs))
    assert by_noise == sorted(set(by_noise), reverse=True)
    assert by_noise[0] == math.inf


def test_steps_report_what_was_given_away_so_far() -> None:
    learner = DPZO(0.01, EPS, noise_multiplier=4.0, delta=1e-5).bind(tiny_model(), cross_entropy, seed=0)
    told = [learner.step(tiny_batch(step)).scalars["epsilon"] for step in range(20)]  # ten steps an epoch
    assert told == [privacy.epsilon(4.0, 1, 1e-5)] * 10 + [privacy.epsilon(4.0, 2, 1e-5)] * 10


def test_an_account_that_cannot_be_made_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "find_spec", lambda _: None)
    method = DPZO(0.01, EPS, delta=1e-5)
    with pytest.raises(ValueError, match=r"opacus.* is not installed; pip install 'tightfit\[privacy\]', or choose"):
        method.bind(tiny_model(), cross_entropy, seed=0)
    replace(method, delta=None).bind(tiny_model(), cross_entropy, seed=0)


def test_losses_of_each_example_are_planned_for() -> None:
    table = layer_table(lenet5(10, 0), (1, 28, 28))
    own, plain = (method.memory(table, 32).total for method in (OPEN, MeZO(0.01, EPS)))
    assert own - plain == 8 * 32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bound": 0.0}, "optimizer.bound=0.0 is not more than 0"),
        ({"noise_multiplier": -1.0}, "optimizer.noise_multiplier=-1.0 is not finite, from 0"),
        ({"bound": math.inf}, "optimizer.bound=inf but noise hides no unbounded loss"),
        ({"delta": 1.0}, "optimizer.delta=1.0 is not between 0 and 1"),
        ({"queries": 2}, "queries=2 but dp_zo gives away one slope a step"),
        ({"direction": TorchLegacy()}, "direction=torch_legacy replays a code without privacy"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DPZO(0.01, EPS, **settings)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: nn.Sequential(nn.Linear(8, 3), nn.BatchNorm1d(3)), "each example by itself, but 1 normalises over"),
        (tiny_int8_model, "optimizer=dp_zo trains floating point"),
    ],
)
def test_models_it_does_not_fit_are_refused(model: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OPEN.bind(model(), cross_entropy, seed=0)
