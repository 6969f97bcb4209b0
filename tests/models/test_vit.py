"""The small vision transformer against the library's; what is saved where some blocks train and tokens are dropped."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn
from transformers import ViTConfig, ViTModel

from tests.synthetic import adapted
from tightfit.memory.operations import operation_table
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerRow, layer_table
from tightfit.models.adapters.blocks import Blocks
from tightfit.models.lenet5 import lenet5
from tightfit.models.vit import Keep, VisionTransformer, vit_tiny
from tightfit.optimizers.activations.checkpointed import Checkpointed
from tightfit.optimizers.activations.kept import Kept
from tightfit.optimizers.base import Batch, Learner, Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.sgd import SGD
from tightfit.run.evaluate import cross_entropy
from tightfit.run.rehearsal import batch_like, peak_live

SHAPE = (1, 28, 28)
HALF = ["blocks.3", "blocks.4", "blocks.5", "head"]


def tiny() -> VisionTransformer:
    return vit_tiny(10, 0, width=16, depth=6, heads=2)


def batch(step: int = 0) -> Batch:
    images = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(step))
    return Batch(images, torch.arange(6) % 10, step, 0.0)


def test_it_computes_what_the_librarys_does_with_the_same_weights() -> None:
    ours = tiny()
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=6, num_attention_heads=2, intermediate_size=64, image_size=28, patch_size=4
    )
    config.num_channels, config.layer_norm_eps = 1, 1e-5
    theirs = ViTModel(config, add_pooling_layer=False).eval()
    theirs.load_state_dict(in_their_words(ours, theirs))
    with torch.no_grad():
        tokens = theirs(batch().inputs).last_hidden_state[:, 0]
        torch.testing.assert_close(ours(batch().inputs), ours.head.classify(tokens), rtol=1e-4, atol=1e-5)


def in_their_words(ours: VisionTransformer, theirs: nn.Module) -> dict[str, torch.Tensor]:
    """Our weights under the library's names, in the order in which it has them."""
    embed, norm = ours.embed, ours.head.norm
    parts = [embed.positions.first, embed.positions.places, embed.project.weight.view(-1, 1, 4, 4), embed.project.bias]
    for block in ours.blocks:
        weights, biases = (block.attention.qkv.get_parameter(name).chunk(3) for name in ("weight", "bias"))
        parts += [part for pair in zip(weights, biases, strict=True) for part in pair]
        for name in ("attention.project", "norm1", "norm2", "fc1", "fc2"):
            parts += [block.get_parameter(f"{name}.weight"), block.get_parameter(f"{name}.bias")]
    return dict(zip(theirs.state_dict(), [*parts, norm.weight, norm.bias], strict=True))


@pytest.mark.parametrize("share", [0.7, 0.3, 0.01])
def test_the_patches_that_the_class_token_heeds_most_are_kept_and_the_others_summed_by_their_attention(
    share: float,
) -> None:
    random = torch.Generator().manual_seed(0)
    tokens = torch.randn(3, 11, 4, generator=random)
    attention = torch.rand(3, 2, 11, 11, generator=random).softmax(-1)
    keep = Keep()
    keep.share = share
    found = keep(tokens, attention)
    some = math.ceil(share * 10)
    assert found.shape == (3, 1 + some + 1, 4)
    for one, seen, result in zip(tokens, attention, found, strict=True):
        heeded = {place: float(sum(head[0, place] for head in seen) / 2) for place in range(1, 11)}
        ranked = sorted(heeded, key=lambda place: -heeded[place])
        expected = [one[0], *(one[place] for place in ranked[:some])]
        assert torch.equal(result[:-1], torch.stack(expected))
        fused = torch.stack([heeded[place] * one[place] for place in ranked[some:]]).sum(0)
        torch.testing.assert_close(result[-1], fused)


def test_equal_tokens_become_one_times_the_sum_of_their_attention() -> None:
    tokens, attention = torch.ones(1, 11, 4), torch.full((1, 2, 11, 11), 0.125)
    keep = Keep()
    keep.share = 0.5
    assert torch.equal(keep(tokens, attention)[0, -1], torch.full((4,), 5 * 0.125))


def rows_of(model: nn.Module, ending: str) -> list[LayerRow]:
    return [row for row in layer_table(model, SHAPE).rows if row.name.endswith(ending)]


def test_activations_fall_with_the_tokens_and_those_of_scores_with_their_square() -> None:
    plain, dropping = tiny(), adapted(tiny(), Blocks(HALF, keep=0.7))
    kept = [49, 35, 26, 26, 26, 26]  # ⌈0.7 · 49⌉; then ⌈0.7 · 36⌉, of the fused token too
    tokens = [50, 50, 37, 28, 28, 28]  # that enter a block
    behind = [50, 37, 28, 28, 28, 28]
    assert [row.outputs for row in rows_of(dropping, ".scores")] == [2 * n * n for n in tokens]
    assert [row.outputs for row in rows_of(dropping, ".fc1")] == [64 * n for n in behind]
    assert behind == [some + (1 if some == 49 else 2) for some in kept]
    for ending in (".scores", ".fc1"):
        whole = [row.outputs for row in rows_of(plain, ending)]
        assert len(set(whole)) == 1


def weights_after(optimizer: Optimizer, model: nn.Module) -> torch.Tensor:
    learner = optimizer.bind(model, cross_entropy, 0)
    for step in range(3):
        learner.step(batch(step))
    return torch.cat([parameter.detach().flatten() for parameter in learner.resting_model().parameters()])


@pytest.mark.parametrize("optimizer", [Backprop(0.1, SGD()), Backprop(0.01, Adam(), Checkpointed()), MeZO(0.01, 1e-3)])
def test_where_all_tokens_are_kept_it_is_the_training_of_some_blocks(optimizer: Optimizer) -> None:
    by_hand = tiny()
    for name, parameter in by_hand.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(f"{block}." for block in HALF)))
    expected = weights_after(optimizer, by_hand)
    assert torch.equal(weights_after(optimizer, adapted(tiny(), Blocks(4))), expected)
    assert torch.equal(weights_after(optimizer, adapted(tiny(), Blocks(HALF, keep=1.0))), expected)
    assert not torch.equal(weights_after(optimizer, adapted(tiny(), Blocks(HALF, keep=0.7))), expected)


@pytest.mark.parametrize("activations", [Kept(), Checkpointed()], ids=lambda each: each.kind)
@pytest.mark.parametrize("rule", [SGD(), Adam()], ids=lambda each: each.kind)
def test_fewer_tokens_need_fewer_bytes(rule: Any, activations: Any) -> None:
    optimizer = Backprop(0.1, rule, activations)
    models = [vit_tiny(10, 0), adapted(vit_tiny(10, 0), Blocks(4)), adapted(vit_tiny(10, 0), Blocks(4, 0.5))]
    whole, some, dropping = (peak_live(optimizer, m, batch_like(m, SHAPE, 16), cross_entropy) for m in models)
    assert whole > some > dropping
    needs = [optimizer.memory(layer_table(model, SHAPE), 16).total for model in models]
    assert needs[0] > needs[1] > needs[2]
    costs = [optimizer.cost(layer_table(model, SHAPE), 16).backward for model in models]
    assert costs[0] > costs[1]


def kept_by_block(model: nn.Module) -> dict[str, int]:
    kept: dict[str, int] = {}
    for row in operation_table(model, SHAPE, 4):
        block = ".".join(row.module.split(".")[:2]) if row.module.startswith("blocks") else row.module.split(".")[0]
        kept[block] = kept.get(block, 0) + row.kept
    return kept


def test_before_the_first_trained_block_nothing_is_kept_but_its_input_and_behind_it_less_of_frozen_ones() -> None:
    choices = (["blocks.5", "head"], ["blocks.2", "head"])
    last, middle = (kept_by_block(adapted(tiny(), Blocks(names))) for names in choices)
    assert [name for name, size in last.items() if size] == ["blocks.4", "blocks.5", "head"]
    assert last["blocks.4"] == middle["blocks.1"] == 4 * 50 * 16 * 4
    assert all(middle[f"blocks.{place}"] for place in range(1, 6))
    assert not middle["embed"] + middle["blocks.0"]
    assert middle["blocks.3"] < middle["blocks.2"]


def test_it_resumes_as_if_it_had_not_stopped() -> None:
    def learner() -> Learner:
        return Backprop(0.01, Adam(), Checkpointed()).bind(adapted(tiny(), Blocks(4, 0.5)), cross_entropy, 0)

    whole, part, resumed = learner(), learner(), learner()
    for step in range(4):
        whole.step(batch(step))
    for step in range(2):
        part.step(batch(step))
    resumed.load_state_dict(copy.deepcopy(part.state_dict()))
    for step in range(2, 4):
        resumed.step(batch(step))
    states = [each.resting_model().state_dict() for each in (whole, resumed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_frozen_blocks_stay_and_tuned_ones_move() -> None:
    model = adapted(tiny(), Blocks(["blocks.1", "head"], keep=0.5))
    before = copy.deepcopy(model.state_dict())
    weights_after(Backprop(0.1, SGD()), model)
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name, _ in trained_parameters(model)}
    assert {name.partition(".norm")[0].partition(".classify")[0] for name in moved} >= {"blocks.1", "head"}
    assert [block.keep.share for block in model.blocks] == [0.5 if place > 1 else 1.0 for place in range(6)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Blocks(0), r"adapter.tuned=0 trains no block; choose 1 or more"),
        (lambda: Blocks([]), r"adapter.tuned=\[\] trains no block"),
        (lambda: Blocks("head"), r"adapter.tuned=head trains no block; choose 1 or more, or a list"),
        (lambda: Blocks(1, keep=0), r"adapter.keep=0 is no share of patches; choose more than 0, at most 1"),
        (lambda: Blocks(1, dropping=["blocks.1"]), r"adapter.keep=1 drops none; leave it out"),
        (lambda: Blocks(9).inject(tiny(), 0), r"adapter.tuned=9 but VisionTransformer has 8 blocks.*choose 1–8"),
        (
            lambda: Blocks(["fc9"]).inject(lenet5(10, 0), 0),
            r"adapter.tuned=fc9 is no block with weights; choose from c",
        ),
        (
            lambda: Blocks(2, 0.5).inject(lenet5(10, 0), 0),
            r"LeNet5 has no tokens to drop; choose adapter.keep=1,",
        ),
        (lambda: Blocks(8, 0.5).inject(tiny(), 0), r"adapter.keep=0.5 but no block from blocks.1 on is frozen"),
        (
            lambda: Blocks(4, 0.5, ["blocks.4"]).inject(tiny(), 0),
            r"adapter.dropping=blocks.4 is no frozen block that can drop tokens; choose from blocks.0, b",
        ),
        (lambda: Blocks(1).inject(nn.Linear(2, 2), 0), r"Linear is no sequence and names no blocks"),
        (lambda: vit_tiny(10, 0, width=10, heads=4), r"model.width=10 is no multiple of model.heads=4"),
        (lambda: vit_tiny(10, 0, depth=0), r"model.depth=0 but a transformer has at least one"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
