"""What a forward pass draws is drawn alike by all passes of a step, so that the slope is that of one loss."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.synthetic import adapted
from tightfit.models.adapters.mp_lora import MPLoRA
from tightfit.optimizers.base import Batch, Optimizer
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.forward_gradient import ForwardGradient
from tightfit.optimizers.hizoo import HiZOO
from tightfit.optimizers.loho import LoHO
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.mezo_svrg import MeZOSVRG
from tightfit.optimizers.p_rge import PRGE
from tightfit.optimizers.seed_pool import SeedPool
from tightfit.run.evaluate import cross_entropy

from .test_contract import tiny_batch, weights

METHODS: dict[str, Optimizer] = {
    "mezo": MeZO(0.01, 1e-3, queries=2),
    "mezo_exact": MeZO(0.01, 1e-3, restore="exact"),
    "elastic_zo": ElasticZO(0.01, 1e-3, bp_lr=0.1, bp_layers=1, bp_pass="mean"),
    "forward_gradient": ForwardGradient(0.01, queries=2),
    "hizoo": HiZOO(0.01, 1e-3, alpha=0.01),
    "loho": LoHO(0.01, 1e-3, bp_lr=0.1, bp_layers=1),
    "mezo_svrg": MeZOSVRG(0.01, 1e-3, anchor_lr=0.01, period=1),
    "seed_pool": SeedPool(0.01, 1e-3, pool=2),
}
every = pytest.mark.parametrize("optimizer", METHODS.values(), ids=METHODS.keys())


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 16), nn.Dropout(), nn.Linear(16, 3))


def masks_of(model: nn.Sequential) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    model[1].register_forward_hook(lambda _, given, answer: seen.append(answer == 0))
    return seen


@every
def test_all_passes_of_a_step_draw_the_same_and_those_of_another_step_something_else(optimizer: Any) -> None:
    model = network()
    masks, before = masks_of(model), torch.get_rng_state()
    learner = optimizer.bind(model, cross_entropy, seed=0)
    for step in (0, 1):
        learner.step(tiny_batch(step))
    first, second = masks[: len(masks) // 2], masks[len(masks) // 2 :]
    assert first[0].any()
    assert not first[0].all()
    assert all(torch.equal(mask, first[0]) for mask in first)
    assert all(torch.equal(mask, second[0]) for mask in second)
    assert not torch.equal(first[0], second[0])
    assert torch.equal(torch.get_rng_state(), before)


@every
def test_a_run_repeats_and_resumes_whatever_else_draws(optimizer: Any) -> None:
    whole, part, resumed = (optimizer.bind(network(), cross_entropy, seed=0) for _ in range(3))
    for step in range(6):
        whole.step(tiny_batch(step))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        for step in range(3):
            part.step(tiny_batch(step))
            torch.rand(7)
        resumed.load_state_dict(part.state_dict())
        for step in range(3, 6):
            resumed.step(tiny_batch(step))
    assert torch.equal(weights(whole), weights(resumed))


def test_a_step_of_nothing_repeats_its_slope_which_is_that_of_its_mask() -> None:
    """Against the directional derivative of the masked loss."""
    model = network()
    learner = MeZO(0.0, 1e-3, restore="exact").bind(model, cross_entropy, seed=0)
    masks = masks_of(model)
    slopes = [learner.step(tiny_batch(3)).scalars["slope"] for _ in range(3)]
    assert slopes[0] == slopes[1] == slopes[2]
    kept, plain = 2.0 * ~masks[0], network()

    def masked(predictor: Any, batch: Batch) -> torch.Tensor:
        return cross_entropy(lambda inputs: predictor[2](predictor[0](inputs) * kept), batch)

    expected = MeZO(0.0, 1e-3, restore="exact").bind(plain, masked, seed=0).step(tiny_batch(3)).scalars["slope"]
    assert slopes[0] == pytest.approx(expected, rel=1e-5)


def test_copies_in_one_pass_are_made_without_dropout() -> None:
    models = (nn.Sequential(network()[0], nn.Dropout(p), network()[2]) for p in (0.5, 0.0))
    learners = [PRGE(0.1, 1e-2).bind(adapted(model, MPLoRA(2)), cross_entropy, 0) for model in models]
    reports = [learner.step(tiny_batch(0)) for learner in learners]
    assert reports[0] == reports[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@every
def test_passes_on_cuda_draw_the_same_too(optimizer: Any) -> None:
    model = network().cuda()
    masks, before = masks_of(model), torch.cuda.get_rng_state()
    given = tiny_batch(0)
    learner = optimizer.bind(model, cross_entropy, seed=0)
    learner.step(Batch(given.inputs.cuda(), given.labels.cuda(), 0, 0.0))
    assert masks[0].any()
    assert all(torch.equal(mask, masks[0]) for mask in masks)
    assert torch.equal(torch.cuda.get_rng_state(), before)
