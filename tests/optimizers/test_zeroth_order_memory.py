"""Full ZO trains within 1.05 of inference's measured peak, and the test would see a temporary of the weights' size."""

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import nn

from tests.models.test_language_model import LLAMA
from tightfit.memory.budget import MemoryBudget
from tightfit.memory.enforcement import Limit
from tightfit.memory.parts import trained_parameters
from tightfit.models.hf_causal_lm import random_causal_lm
from tightfit.models.hf_tokenizer import HashedWords
from tightfit.models.pointnet import pointnet
from tightfit.numerics.noise.perturbation import Move, Perturbation
from tightfit.optimizers import mezo
from tightfit.optimizers.base import Batch, Report
from tightfit.optimizers.directions import independent
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.zeroth_order import ZerothOrderLearner
from tightfit.run.measurement import inference_peak, training_peak

MOST = 1.05
OPTIMIZER = MeZO(lr=1e-4, eps=1e-3, queries=2)


def transformer() -> nn.Module:
    """Of llama_tiny's shape, with a vocabulary of 1,024."""
    settings = {**LLAMA, "vocab_size": 1024, "hidden_size": 32, "intermediate_size": 64, "tie_word_embeddings": True}
    return random_causal_lm("llama", settings, HashedWords(1024), (7, 3), classes=2, seed=0)


def prompts() -> Batch:
    tokens = torch.randint(1, 1024, (4, 16), generator=torch.Generator().manual_seed(0))
    return Batch(tokens, torch.zeros(4, dtype=torch.int64), 0, 0.0)


def clouds() -> Batch:
    return Batch(torch.randn(2, 128, 3), torch.zeros(2, dtype=torch.int64), 0, 0.0)


SUBJECTS = {"transformer": (transformer, prompts), "pointnet": (lambda: pointnet(40, 0), clouds)}
both_models = pytest.mark.parametrize(("build", "batch"), SUBJECTS.values(), ids=SUBJECTS.keys())


class KeepsTheWeights(ZerothOrderLearner):
    """Could restore them from a copy instead of by the seed."""

    def step(self, batch: Batch) -> Report:
        kept = [parameter.clone() for _, parameter in trained_parameters(self.resting_model())]
        report = super().step(batch)
        del kept
        return report


class DrawsTheWholeDirection(Perturbation):
    """All of it before the first weight moves."""

    def add_all_(self, moves: Iterable[Move], stochastically: bool = False) -> None:
        drawn = [torch.empty_like(stream.weights).normal_() for stream in self.streams.values()]
        super().add_all_(moves, stochastically)
        del drawn


TWINS = {"ZerothOrderLearner": (mezo, KeepsTheWeights), "Perturbation": (independent, DrawsTheWholeDirection)}


def over_inference(model: nn.Module, batch: Batch) -> float:
    limit = Limit(MemoryBudget("unlimited"), torch.device("cpu"))
    return training_peak(OPTIMIZER, model, batch, 0, limit).tensors.bytes / inference_peak(model, batch)


@both_models
def test_training_peaks_within_a_twentieth_of_inference(
    build: Callable[[], nn.Module], batch: Callable[[], Batch]
) -> None:
    assert over_inference(build(), batch()) <= MOST


@both_models
@pytest.mark.parametrize("part", TWINS)
def test_a_temporary_of_the_weights_size_would_be_seen(
    build: Callable[[], nn.Module], batch: Callable[[], Batch], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, twin = TWINS[part]
    monkeypatch.setattr(module, part, twin)
    assert over_inference(build(), batch()) > MOST
