"""Checkpointed backpropagation is backpropagation bit for bit, in less memory."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.models.test_language_model import LLAMA, causal
from tests.optimizers.test_contract import tiny_batch, tiny_model
from tightfit.memory.measured import peak_live_bytes
from tightfit.memory.table import layer_table
from tightfit.models.adapters.lora import LoRA
from tightfit.models.hf_causal_lm import random_causal_lm
from tightfit.models.hf_tokenizer import HashedWords
from tightfit.models.lenet5 import lenet5
from tightfit.models.pointnet import pointnet
from tightfit.optimizers.activations.checkpointed import Checkpointed
from tightfit.optimizers.base import Batch, Learner, Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.sgd import SGD
from tightfit.run.evaluate import cross_entropy

TWINS = {
    "bp_sgd": (Backprop(0.05, SGD()), Backprop(0.05, SGD(), Checkpointed())),
    "bp_adam": (Backprop(0.01, Adam()), Backprop(0.01, Adam(), Checkpointed())),
}
both_methods = pytest.mark.parametrize(("plain", "checkpointed"), TWINS.values(), ids=TWINS.keys())


def images(step: int) -> Batch:
    return Batch(torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(step)), torch.arange(4), step, 0.0)


def clouds(step: int) -> Batch:
    return Batch(torch.randn(4, 16, 3, generator=torch.Generator().manual_seed(step)), torch.arange(4), step, 0.0)


def prompts(step: int) -> Batch:
    tokens = torch.randint(1, 64, (4, 8), generator=torch.Generator().manual_seed(step))
    return Batch(tokens, torch.tensor([0, 1, 1, 0]), step, 0.0)


def with_dropout() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(8, 32), nn.Dropout(), nn.ReLU(), nn.Linear(32, 32), nn.Dropout(), nn.Linear(32, 3)
        )


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Batch]]] = {
    "lenet5": (lambda: lenet5(10, seed=0), images),
    "pointnet": (lambda: pointnet(4, seed=0), clouds),
    "llama": (lambda: causal("llama"), prompts),
    "gpt2": (lambda: causal("gpt2", attention="eager"), prompts),
    "llama_lora": (lambda: causal("llama_tied", LoRA(rank=2)), prompts),
    "dropout": (with_dropout, tiny_batch),
}


def trained(learner: Learner, batch: Callable[[int], Batch]) -> list[float]:
    torch.manual_seed(1)  # of dropout
    return [learner.step(batch(step)).loss for step in range(4)]


@both_methods
@pytest.mark.parametrize(("build", "batch"), MODELS.values(), ids=MODELS.keys())
def test_weights_and_statistics_are_those_of_plain_backpropagation_bit_for_bit(
    plain: Optimizer, checkpointed: Optimizer, build: Callable[[], nn.Module], batch: Callable[[int], Batch]
) -> None:
    learners = [optimizer.bind(build(), cross_entropy, seed=0) for optimizer in (plain, checkpointed)]
    first, second = [trained(learner, batch) for learner in learners]
    assert first == second
    states = [learner.resting_model().state_dict() for learner in learners]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0].keys() | states[1].keys())


def peak(optimizer: Optimizer, model: nn.Module, batch: Batch) -> int:
    def two_steps() -> None:
        learner = optimizer.bind(model, cross_entropy, seed=0)
        for _ in range(2):
            learner.step(batch)

    return peak_live_bytes(two_steps, resident=model.parameters(), uncounted=[batch.inputs, batch.labels])


def deep_llama() -> nn.Module:
    settings = {**LLAMA, "num_hidden_layers": 12, "tie_word_embeddings": True}
    return random_causal_lm("llama", settings, HashedWords(64), (7, 3), classes=2, seed=0)


def test_a_deep_transformer_peaks_far_below_plain_backpropagation() -> None:
    tokens = torch.randint(1, 64, (32, 32), generator=torch.Generator().manual_seed(0))
    batch = Batch(tokens, torch.zeros(32, dtype=torch.int64), 0, 0.0)
    assert peak(Backprop(0.05, SGD(), Checkpointed()), deep_llama(), batch) < 0.4 * peak(
        Backprop(0.05, SGD()), deep_llama(), batch
    )


def test_pointnet_keeps_neither_the_products_nor_the_norms_of_its_features() -> None:
    batch = Batch(torch.randn(4, 256, 3), torch.arange(4), 0, 0.0)
    assert peak(Backprop(0.05, SGD(), Checkpointed()), pointnet(4, 0), batch) < peak(
        Backprop(0.05, SGD()), pointnet(4, 0), batch
    )


def test_need_is_that_of_the_inputs_of_blocks_and_of_the_largest_block() -> None:
    table = layer_table(lenet5(10, 0), (1, 28, 28))
    need, plain = (
        optimizer.memory(table, 32) for optimizer in (Backprop(0.01, Adam(), Checkpointed()), Backprop(0.01, Adam()))
    )
    largest = 4704 + 4704 + 1176  # conv1, its ReLU and its pooling
    assert need.activations == (largest + 1176 + 784 + 120 + 84) * 32 * 4
    assert need.errors == largest * 32 * 4
    for kind in ("parameters", "gradients", "optimizer_state"):
        assert getattr(need, kind) == getattr(plain, kind)


def test_blocks_of_a_table_are_all_of_its_rows_once() -> None:
    table = layer_table(pointnet(4, 0), (16, 3))
    assert sum(table.blocks(), ()) == table.rows
    assert [block[0].name for block in table.blocks()] == [*(f"feature{n}" for n in range(1, 6)), "fc1", "fc2", "fc3"]


def test_between_steps_the_model_is_as_it_was() -> None:
    model = tiny_model()
    learner = Backprop(0.05, SGD(), Checkpointed()).bind(model, cross_entropy, seed=0)
    learner.step(tiny_batch(0))
    assert "forward" not in vars(model)


def test_a_step_that_fails_leaves_the_model_as_it_was() -> None:
    model = tiny_model()
    learner = Backprop(0.05, SGD(), Checkpointed()).bind(model, cross_entropy, seed=0)
    with pytest.raises(RuntimeError):
        learner.step(images(0))  # of another shape
    assert "forward" not in vars(model)


def test_a_model_without_blocks_is_refused_with_the_alternatives() -> None:
    with pytest.raises(
        ValueError, match=r"Linear names no blocks .*give it traits = Traits\(blocks=…\), or choose activations=kept"
    ):
        Backprop(0.01, Adam(), Checkpointed()).bind(nn.Linear(2, 2), cross_entropy, seed=0)
