"""Mesa changes no loss, keeps a quarter of the bytes, and rounds what it keeps by a step at most."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.models.test_language_model import LLAMA, causal
from tests.optimizers.kept_bytes import kept_bytes, loss_and_gradients, relative_error
from tests.optimizers.test_bp_checkpointed import images, prompts
from tightfit.memory.measured import peak_live_bytes
from tightfit.memory.table import layer_table
from tightfit.models.adapters.lora import LoRA
from tightfit.models.hf_causal_lm import random_causal_lm
from tightfit.models.hf_tokenizer import HashedWords
from tightfit.models.lenet5 import lenet5
from tightfit.optimizers.activations.kept import KEPT
from tightfit.optimizers.activations.mesa import Codes, Copies, Mesa, Packed, coded, unpacked
from tightfit.optimizers.activations.while_alive import WhileAlive
from tightfit.optimizers.base import Batch
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.rules.adam import Adam
from tightfit.run.evaluate import cross_entropy
from tightfit.run.rehearsal import peak_live

MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Batch]]] = {
    "lenet5": (lambda: lenet5(10, seed=0), images),
    "llama": (lambda: causal("llama"), prompts),
    "llama_eager": (lambda: causal("llama", attention="eager"), prompts),
    "gpt2": (lambda: causal("gpt2"), prompts),
    "llama_lora": (lambda: causal("llama_tied", LoRA(rank=2)), prompts),
}
every_model = pytest.mark.parametrize(("build", "batch"), MODELS.values(), ids=MODELS.keys())


def decoded(codes: Codes) -> torch.Tensor:
    return unpacked(Packed(codes, torch.float32, codes.codes.shape, (1,), 0))


def extremes(values: torch.Tensor) -> torch.Tensor:
    return torch.stack(values.aminmax())


@every_model
def test_losses_have_the_bits_of_plain_backpropagation_and_gradients_are_near(build: Any, batch: Any) -> None:
    plain, found = (loss_and_gradients(policy, build(), batch(0)) for policy in (KEPT, Mesa()))
    assert found[0] == plain[0]
    assert 0 < relative_error(found[1], plain[1]) < 0.05  # of 256 levels, in one tensor after the other
    assert torch.cosine_similarity(found[1], plain[1], dim=0) > 0.999


@every_model
def test_gradients_of_16_bits_are_exact_to_a_ten_thousandth(build: Any, batch: Any) -> None:
    plain, found = (loss_and_gradients(policy, build(), batch(0))[1] for policy in (KEPT, Mesa(bits=16)))
    assert relative_error(found, plain) < 1e-4


def test_gradients_are_kept_on_average() -> None:
    model, batch = lenet5(10, 0), images(0)
    exact = loss_and_gradients(KEPT, model, batch)[1]
    draws = torch.stack([loss_and_gradients(Mesa(), model, batch, seed)[1] for seed in range(36)])
    one = sum(relative_error(draw, exact) for draw in draws) / len(draws)
    assert relative_error(draws.mean(0), exact) < 1.5 * one / 6


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300),
    st.sampled_from([8, 16]),
    st.sampled_from(["nearest", "stochastic"]),
)
def test_a_number_comes_back_within_half_a_step_or_within_one_by_chance(
    numbers: list[float], bits: int, rounding: str
) -> None:
    values = torch.tensor(numbers)
    codes = coded(values, extremes(values), bits, torch.Generator() if rounding == "stochastic" else None)
    span = max(numbers) - min(numbers)
    allowed = (0.5 if rounding == "nearest" else 1.0) * span / (2**bits - 2)
    # And the rounding of float32, of the numbers and of their range; no step is below the least normal number.
    slack = 1e-6 * max(span, *map(abs, numbers)) + torch.finfo(torch.float32).tiny
    assert (decoded(codes) - values).abs().max() <= allowed + slack


def test_codes_are_those_of_their_definition() -> None:
    values = torch.tensor([-1.0, 0.0, 0.001, 0.3, 1.54, 9.0])
    codes = coded(values, torch.tensor([0.0, 2.54]), 8, None)
    assert codes.codes.tolist() == [0, 0, 1, 31, 155, 255]  # what is beyond the range is clamped at both ends
    assert codes.codes.dtype == torch.uint8


def test_a_tensor_of_one_number_comes_back_as_it_is() -> None:
    values = torch.full((5,), 3.0)
    assert decoded(coded(values, extremes(values), 8, torch.Generator())).equal(values)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300))
def test_zeros_of_relu_and_no_others_come_back_as_zero(numbers: list[float]) -> None:
    values = torch.tensor([*numbers, 0.0]).relu()
    values = values.where(values > 1e-30, 0)  # smaller ones have no step
    assert (decoded(coded(values, extremes(values), 8, torch.Generator())) > 0).equal(values > 0)


def test_pieces_are_rounded_as_the_whole_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    whole = coded(values, extremes(values), 8, None).codes
    monkeypatch.setattr("tightfit.optimizers.activations.mesa.PIECE", 300)
    assert coded(values, extremes(values), 8, None).codes.equal(whole)


@pytest.mark.parametrize("view", ["transposed", "sliced", "expanded", "permuted"])
def test_what_is_unpacked_lies_as_what_was_packed(view: str) -> None:
    made = torch.randn(6, 8, 10, requires_grad=True) * 1
    tensor = {
        "transposed": made.transpose(1, 2),
        "sliced": made[2:4, :, 3:],
        "expanded": made[:, :, :1].expand(6, 8, 4),
        "permuted": made.permute(2, 0, 1),
    }[view]
    packed = Copies(Mesa(bits=16), nn.Linear(1, 1), torch.Generator(), []).packed(tensor)
    assert isinstance(packed, Packed)
    assert torch.allclose(unpacked(packed), tensor, atol=1e-3)


def test_parameters_leaves_integers_and_single_columns_are_kept_as_they_are() -> None:
    layer = nn.Linear(4, 4)
    copies = Copies(Mesa(), layer, torch.Generator(), [])
    made = torch.randn(4, 4, requires_grad=True)
    as_they_are = [layer.weight, layer.weight.t(), made, made.detach() * 2, torch.arange(4), (made * 2)[:, :1]]
    for tensor in as_they_are:
        kept = copies.packed(tensor)
        assert isinstance(kept, torch.Tensor)
        assert kept.data_ptr() == tensor.data_ptr()
        assert kept.grad_fn is None
    assert isinstance(copies.packed(made * 2), Packed)


def test_readers_of_the_same_numbers_share_a_copy_and_others_do_not() -> None:
    copies = Copies(Mesa(), nn.Linear(1, 1), torch.Generator(), [])
    made = torch.randn(4, 4, requires_grad=True) * 1
    first, second = copies.packed(made), copies.packed(made.t())
    assert isinstance(first, Packed)
    assert isinstance(second, Packed)
    assert first.codes is second.codes
    made += 1
    after = copies.packed(made)
    assert isinstance(after, Packed)
    assert after.codes is not first.codes


def test_memory_given_out_again_is_not_taken_for_what_was_there_before() -> None:
    """The trap of sharing by address: gradients then are of other tensors."""
    shared: WhileAlive[float] = WhileAlive()
    addresses = set()
    for number in range(50):
        tensor = torch.full((1000,), float(number))
        addresses.add(tensor.data_ptr())
        assert shared(tensor, lambda number=number: float(number)) == number
        del tensor
    assert len(addresses) < 50  # else this showed nothing


def wide_llama() -> nn.Module:
    settings = {**LLAMA, "hidden_size": 64, "intermediate_size": 128}
    return random_causal_lm("llama", settings, HashedWords(64), (7, 3), classes=2, seed=0)


def long_prompts() -> Batch:
    tokens = torch.randint(1, 64, (16, 32), generator=torch.Generator().manual_seed(0))
    return Batch(tokens, torch.zeros(16, dtype=torch.int64), 0, 0.0)


def test_a_transformer_keeps_a_quarter_of_its_bytes_and_a_little() -> None:
    ratio = kept_bytes(Mesa(), wide_llama(), long_prompts()) / kept_bytes(KEPT, wide_llama(), long_prompts())
    assert 0.24 <= ratio <= 0.30


def test_need_is_a_byte_a_number_and_the_largest_tensor_whole() -> None:
    table = layer_table(lenet5(10, 0), (1, 28, 28))
    outputs = [row.outputs for row in table.rows]
    need, plain = (Backprop(0.01, Adam(), policy).memory(table, 32) for policy in (Mesa(), KEPT))
    assert need.activations == 32 * sum(outputs) + 8 * len(outputs) + 4 * 32 * max(outputs)
    assert replace(need, activations=0) == replace(plain, activations=0)


def test_a_rehearsal_of_many_pieces_holds_what_real_steps_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tightfit.optimizers.activations.mesa.PIECE", 50)  # more than a rehearsal works through
    optimizer, model, batch = Backprop(0.01, Adam(), Mesa()), lenet5(10, 0), images(0)
    rehearsed = peak_live(optimizer, lenet5(10, 0), batch, cross_entropy)

    def two_steps() -> None:
        learner = optimizer.bind(model, cross_entropy, 0)
        for step in range(2):
            learner.step(replace(batch, step=step))

    assert peak_live_bytes(two_steps, model.parameters(), (batch.inputs, batch.labels)) == rehearsed


def test_codes_differ_from_step_to_step() -> None:
    model = lenet5(10, 0)
    at = [loss_and_gradients(Mesa(), model, replace(images(0), step=step))[1] for step in (0, 0, 1)]
    assert at[0].equal(at[1])
    assert not at[0].equal(at[2])


def test_running_ranges_are_means_that_the_first_step_sets_and_are_saved() -> None:
    ranges: list[torch.Tensor] = []
    mesa = Mesa(levels="running", decay=0.75)
    for scale in (1.0, 5.0):
        made = scale * torch.tensor([[-1.0, 3.0]], requires_grad=True)
        Copies(mesa, nn.Linear(1, 1), torch.Generator(), ranges).packed(made)
    assert [each.tolist() for each in ranges] == [[-2.0, 6.0]]
    learner = Backprop(0.01, Adam(), Mesa(levels="running")).bind(lenet5(10, 0), cross_entropy, 0)
    learner.step(images(0))
    assert len(learner.state_dict()["activations"]["ranges"]) > 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 4}, "activations.bits=4 is not known; choose 8 or 16"),
        ({"rounding": "up"}, "activations.rounding=up is not known; choose stochastic or nearest"),
        ({"levels": "ema"}, "activations.levels=ema is not known; choose own or running"),
        ({"decay": 1.0}, "activations.decay=1.0 is not from 0 to less than 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mesa(**settings)
