"""`noise=torch_legacy` against the published step, restated from its description with the global generators."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tightfit.optimizers.base import Batch
from tightfit.optimizers.directions.torch_legacy import TorchLegacy
from tightfit.optimizers.mezo import MeZO
from tightfit.run.evaluate import cross_entropy

from .test_contract import tiny_batch, tiny_model

LR, EPS, SEED = 3e-3, 1e-3, 42


def published_training(model: nn.Module, loss: Callable[[nn.Module, Batch], torch.Tensor], lr: float) -> None:
    """Move `model` in place as the authors do: the loss is a number only after the slope was taken in its own type."""
    np.random.seed(SEED)  # noqa: NPY002
    parameters = list(model.parameters())

    def z_of(p: nn.Parameter) -> torch.Tensor:
        return torch.normal(mean=0, std=1, size=p.data.size(), device=p.data.device, dtype=p.data.dtype)

    def perturb(seed: int, factor: int) -> None:
        torch.manual_seed(seed)
        for p in parameters:
            p.data = p.data + factor * z_of(p) * EPS

    for step in range(STEPS):
        seed = int(np.random.randint(1000000000))  # noqa: NPY002
        with torch.inference_mode():
            perturb(seed, 1)
            first = loss(model, tiny_batch(step))
            perturb(seed, -2)
            second = loss(model, tiny_batch(step))
        slope = ((first - second) / (2 * EPS)).item()
        perturb(seed, 1)
        torch.manual_seed(seed)
        for p in parameters:
            p.data = p.data - lr * (slope * z_of(p))


STEPS = 60


class Words(nn.Module):
    """An embedding, a layer norm and a head; a number is read as the word it is nearest to."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm, self.head = nn.Embedding(40, 16), nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        words = (inputs * 8).round().long().clamp(-20, 19) + 20
        return self.head(self.norm(self.embedding(words)).mean(dim=1))


def built(build: Callable[[], nn.Module], dtype: torch.dtype) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().to(dtype)


def loss_in(dtype: torch.dtype) -> Callable[..., torch.Tensor]:
    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        first = next(model.parameters())
        inputs = batch.inputs if isinstance(model, Words) else batch.inputs.to(first.dtype)
        return F.cross_entropy(model(inputs).to(dtype), batch.labels)

    return loss


@pytest.mark.filterwarnings("ignore:restore='merged'")
@pytest.mark.parametrize("build", [tiny_model, Words])
@pytest.mark.parametrize("lr", [3e-3, 1e-2])
@pytest.mark.parametrize(
    ("dtype", "loss_dtype"),
    [
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float16),
    ],
)
def test_published_steps_are_replayed_bit_for_bit(
    build: Callable[[], nn.Module], lr: float, dtype: torch.dtype, loss_dtype: torch.dtype
) -> None:
    ours, theirs = built(build, dtype), built(build, dtype)
    learner = MeZO(lr, EPS, direction=TorchLegacy()).bind(ours, loss_in(loss_dtype), SEED)
    for step in range(STEPS):
        learner.step(tiny_batch(step))
    with torch.random.fork_rng(devices=[]):
        published_training(theirs, loss_in(loss_dtype), lr)
    assert all(torch.equal(p, q) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_passes_are_made_without_dropout_as_published() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(), nn.Linear(16, 3))
    learner = MeZO(0.0, EPS, direction=TorchLegacy()).bind(model, cross_entropy, SEED)
    kept: list[bool] = []
    model[1].register_forward_hook(lambda _, given, answer: kept.append(torch.equal(given[0], answer)))
    learner.step(tiny_batch(0))
    assert kept == [True, True]


def test_half_precision_weights_are_rounded_as_published() -> None:
    model = nn.Linear(7, 5).half()
    expected = {name: p.detach().clone() for name, p in model.named_parameters()}
    learner = MeZO(0.0, EPS, direction=TorchLegacy()).bind(model, lambda *_: torch.zeros(()), SEED)
    learner.step(Batch(torch.empty(0), torch.empty(0), 0, 0.0))
    seed = int(np.random.RandomState(SEED).randint(10**9))
    for factor in (1, -2, 1):
        generator = torch.Generator().manual_seed(seed)
        for name, value in expected.items():
            z = torch.empty_like(value).normal_(generator=generator)
            expected[name] = value + factor * z * EPS
    assert all(torch.equal(p, expected[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize("settings", [{"queries": 2}, {"restore": "exact"}])
def test_what_the_published_code_does_not_have_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="replays the published code"):
        MeZO(LR, EPS, **settings, direction=TorchLegacy())
