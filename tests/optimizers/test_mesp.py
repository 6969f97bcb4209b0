"""MeSP gives the gradients of autograd and keeps of low-rank updates their inputs alone."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.models.test_language_model import causal
from tests.optimizers.kept_bytes import kept_bytes, loss_and_gradients, relative_error
from tests.optimizers.test_bp_checkpointed import clouds, images, prompts
from tests.synthetic import adapted
from tightfit.memory.measured import peak_live_bytes
from tightfit.memory.table import layer_table
from tightfit.models.adapters.lora import LoRA, Update
from tightfit.models.adapters.mp_lora import MPLoRA
from tightfit.models.lenet5 import lenet5
from tightfit.models.pointnet import pointnet
from tightfit.optimizers.activations.activations import Activations
from tightfit.optimizers.activations.checkpointed import Checkpointed
from tightfit.optimizers.activations.kept import KEPT
from tightfit.optimizers.activations.mesp import LowRankProduct, MeSP, updated
from tightfit.optimizers.base import Batch
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.sgd import SGD
from tightfit.run.evaluate import cross_entropy

PROJECTIONS = r"proj$"


def moved(model: nn.Module) -> nn.Module:
    """Updates begin at zero, where half of all gradients are zero too."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1, generator=generator)
    return model


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Batch]]] = {
    "lenet5": (lambda: adapted(lenet5(10, 0), LoRA(4, 6)), images),
    "pointnet": (lambda: adapted(pointnet(4, 0), LoRA(4, 6)), clouds),
    "llama": (lambda: causal("llama", LoRA(4, 6, PROJECTIONS)), prompts),
    "llama_16_bits": (lambda: causal("llama", LoRA(4, 6), dtype="bfloat16"), prompts),
    "llama_wide": (lambda: causal("llama", LoRA(4, 6), dtype="bfloat16", compute="float32"), prompts),
    "llama_8_bits": (lambda: causal("llama", LoRA(4, 6, frozen_bits=8)), prompts),
    "llama_4_bits": (lambda: causal("llama", LoRA(4, 6, frozen_bits=4)), prompts),
    "gpt2": (lambda: causal("gpt2", LoRA(4, 6)), prompts),
}


@pytest.mark.parametrize(("build", "batch"), MODELS.values(), ids=MODELS.keys())
def test_gradients_are_those_of_autograd(
    build: Callable[[], nn.Module], batch: Callable[[int], Batch], request: pytest.FixtureRequest
) -> None:
    plain, found = (loss_and_gradients(policy, moved(build()), batch(0)) for policy in (KEPT, MeSP()))
    # Sums in another order; in 16 bits autograd rounds what goes in between once more.
    tolerance = 0.02 if "16_bits" in request.node.callspec.id else 1e-6
    assert found[0] == pytest.approx(plain[0], rel=tolerance)
    assert relative_error(found[1], plain[1]) < tolerance
    assert plain[1].norm() > 0


def test_the_product_of_two_factors_passes_the_check_of_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 5, 4), (3, 4), (6, 3))  # inputs, first, second
    given = [torch.randn(s, dtype=torch.float64, generator=generator, requires_grad=True) for s in shapes]
    assert torch.autograd.gradcheck(lambda *tensors: LowRankProduct.apply(*tensors, 1.5), given)


def test_one_layer_keeps_its_inputs_and_no_product_of_them() -> None:
    rank, rows = 5, 7
    update = Update(nn.Linear(8, 6), nn.Parameter(torch.randn(rank, 8)), nn.Parameter(torch.randn(6, rank)), 2.0)
    update.base.requires_grad_(False)
    inputs = torch.randn(rows, 8, requires_grad=True)

    def saved(layer: Callable[[], torch.Tensor]) -> set[tuple[int, ...]]:
        shapes: list[torch.Size] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: shapes.append(t.shape) or t, lambda t: t):
            layer()
        return {tuple(shape) for shape in shapes}

    plain = saved(lambda: update.base(inputs) + (inputs @ update.first.t()) @ update.second.t() * update.scale)
    assert (rows, rank) in plain
    assert plain - saved(lambda: updated(update, inputs)) >= {(rows, rank)}
    assert (rows, 8) in saved(lambda: updated(update, inputs))


def test_blocks_keep_their_inputs_alone() -> None:
    def kept(policy: Activations) -> int:
        return kept_bytes(policy, causal("llama", LoRA(4, 8, PROJECTIONS)), prompts(0))

    assert kept(MeSP()) == kept(Checkpointed()) < 0.5 * kept(KEPT)


def test_its_peak_is_that_of_checkpoints_without_the_inner_products_of_a_block() -> None:
    batch, rank = prompts(0), 8
    batch = Batch(batch.inputs.repeat(16, 4), batch.labels.repeat(16), 0, 0.0)

    def peak(policy: Activations) -> int:
        model = causal("llama", LoRA(rank, 8, PROJECTIONS))

        def two_steps() -> None:
            learner = Backprop(0.05, SGD(), policy).bind(model, cross_entropy, seed=0)
            for _ in range(2):
                learner.step(batch)

        return peak_live_bytes(two_steps, model.parameters(), (batch.inputs, batch.labels))

    of_one_layer = 4 * rank * batch.inputs.numel()
    spared = peak(Checkpointed()) - peak(MeSP())
    assert of_one_layer <= spared <= 7 * of_one_layer  # each block has seven layers


def test_need_is_that_of_checkpoints_less_the_inner_products_of_the_largest_block_but_one() -> None:
    table = layer_table(causal("llama", LoRA(4, 8, PROJECTIONS)), (8,))
    need, checkpointed = (Backprop(0.01, Adam(), policy).memory(table, 3) for policy in (MeSP(), Checkpointed()))
    assert checkpointed.activations - need.activations == 6 * 4 * 4 * 8 * 3  # layers, rank, bytes, positions, examples
    assert need.errors == checkpointed.errors
    assert (need.gradients, need.optimizer_state) == (checkpointed.gradients, checkpointed.optimizer_state)


@pytest.mark.parametrize("build", [lambda: lenet5(10, 0), lambda: adapted(lenet5(10, 0), MPLoRA(4, 4))])
def test_a_model_that_trains_no_low_rank_updates_is_refused_with_the_alternatives(
    build: Callable[[], nn.Module],
) -> None:
    message = "LeNet5 trains none; set adapter=lora, or choose activations=checkpointed"
    with pytest.raises(ValueError, match=message):
        Backprop(0.01, Adam(), MeSP()).bind(build(), cross_entropy, seed=0)
    with pytest.raises(ValueError, match=message):
        Backprop(0.01, Adam(), MeSP()).memory(layer_table(build(), (1, 28, 28)), 1)


def test_an_update_with_dropout_is_refused_with_its_name() -> None:
    model = adapted(lenet5(10, 0), LoRA(4, 4)).train()
    layer = model.get_submodule("fc2")
    layer.lora_dropout["default"] = nn.Dropout(0.1)  # ty: ignore
    with pytest.raises(ValueError, match=r"the update of fc2 is more than .*; choose activations=checkpointed"):
        Backprop(0.01, Adam(), MeSP()).bind(model, cross_entropy, seed=0)


def test_between_steps_the_model_is_as_it_was() -> None:
    model = adapted(lenet5(10, 0), LoRA(4, 4))
    Backprop(0.01, Adam(), MeSP()).bind(model, cross_entropy, seed=0).step(images(0))
    assert not any("forward" in vars(module) for module in model.modules())
