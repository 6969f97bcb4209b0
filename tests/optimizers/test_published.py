"""`noise=torch_legacy` against the published step, restated from its description with the global generators."""

import numpy as np
import pytest
import torch

from tightfit.evaluate import cross_entropy
from tightfit.optimizers.base import Batch
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.mezo import MeZO

from .test_contract import tiny_batch, tiny_model, weights

LR, EPS, SEED = 3e-3, 1e-3, 42


def published_training(model: torch.nn.Module, steps: int) -> list[float]:
    """Losses at +eps, after moving `model` in place."""
    np.random.seed(SEED)  # noqa: NPY002
    parameters, losses = list(model.parameters()), []

    def perturb(seed: int, factor: int) -> None:
        torch.manual_seed(seed)
        for p in parameters:
            z = torch.normal(mean=0, std=1, size=p.data.size(), device=p.data.device, dtype=p.data.dtype)
            p.data = p.data + factor * z * EPS

    for step in range(steps):
        seed = int(np.random.randint(1000000000))  # noqa: NPY002
        with torch.no_grad():
            perturb(seed, 1)
            first = cross_entropy(model, tiny_batch(step)).item()
            perturb(seed, -2)
            second = cross_entropy(model, tiny_batch(step)).item()
            slope = (first - second) / (2 * EPS)
            perturb(seed, 1)
            torch.manual_seed(seed)
            for p in parameters:
                z = torch.normal(mean=0, std=1, size=p.data.size(), device=p.data.device, dtype=p.data.dtype)
                p.data = p.data - LR * (slope * z)
        losses.append((first + second) / 2)
    return losses


def test_published_steps_are_replayed_bit_for_bit() -> None:
    ours, theirs = tiny_model(), tiny_model()
    learner = MeZO(LR, EPS, noise="torch_legacy").bind(ours, cross_entropy, SEED)
    losses = [learner.step(tiny_batch(step)).loss for step in range(50)]
    with torch.random.fork_rng(devices=[]):
        assert losses == published_training(theirs, 50)
    expected = torch.cat([parameter.detach().flatten() for parameter in theirs.parameters()])
    assert torch.equal(weights(learner), expected)


def test_half_precision_weights_are_rounded_as_published() -> None:
    model = torch.nn.Linear(7, 5).half().requires_grad_(False)
    expected = {name: p.clone() for name, p in model.named_parameters()}
    learner = MeZO(0.0, EPS, noise="torch_legacy").bind(model, lambda *_: torch.zeros(()), SEED)
    learner.step(Batch(torch.empty(0), torch.empty(0), 0, 0.0))
    seed = int(np.random.RandomState(SEED).randint(10**9))
    for factor in (1, -2, 1):
        generator = torch.Generator().manual_seed(seed)
        for name, value in expected.items():
            z = torch.empty_like(value).normal_(generator=generator)
            expected[name] = value + factor * z * EPS
    assert all(torch.equal(p, expected[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize("settings", [{"queries": 2}, {"kernel": "portable"}, {"restore": "exact"}])
def test_what_the_published_code_does_not_have_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="replays the published code"):
        MeZO(LR, EPS, noise="torch_legacy", **settings)


def test_it_is_for_mezo_alone() -> None:
    with pytest.raises(ValueError, match="noise='torch_legacy' is not a stream"):
        ElasticZO(LR, 0.1, EPS, 1, noise="torch_legacy")
