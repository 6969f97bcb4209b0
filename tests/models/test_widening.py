"""Weights of 16 bits that are multiplied in float32: the numbers of float32 at half the bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.synthetic import adapted
from tightfit.memory.measured import peak_live_bytes
from tightfit.memory.table import layer_table, parameter_bytes
from tightfit.models import widening
from tightfit.models.adapters.adapter import Adapter
from tightfit.models.adapters.lora import LoRA, updates_of
from tightfit.models.adapters.mp_lora import MPLoRA
from tightfit.models.hf_causal_lm import hf_encoder, hf_masked_lm, random_causal_lm
from tightfit.models.hf_tokenizer import HashedWords, HFTokenizer
from tightfit.models.language_model import LanguageModel
from tightfit.models.widening import WideLinear, computing_type
from tightfit.numerics import speed
from tightfit.optimizers.base import Batch, Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.p_rge import PRGE
from tightfit.optimizers.rules.sgd import SGD
from tightfit.run.evaluate import cross_entropy
from tightfit.run.rehearsal import peak_live

from .test_language_model import CAUSAL, WORDS, bert, causal, prompts

NARROW: dict[str, Any] = {"dtype": "bfloat16", "compute": "float32"}
BATCH = Batch(prompts(), torch.tensor([0, 1, 0]), 0, 0.0)


def masked(folder: Path, **options: Any) -> LanguageModel:
    source = str(bert(folder))
    return hf_masked_lm(source, HFTokenizer(source, answers_at="mask"), [8, 9], classes=2, seed=0, **options)


def encoder(folder: Path, **options: Any) -> LanguageModel:
    source = str(bert(folder))
    return hf_encoder(source, HFTokenizer(source, answers_at="head"), (), classes=2, seed=0, **options)


MODELS: dict[str, Callable[..., LanguageModel]] = {
    **{name: lambda _, name=name, **options: causal(name, **options) for name in CAUSAL},
    "eager": lambda _, **options: causal("llama", attention="eager", **options),
    "masked": masked,
    "encoder": encoder,
}


def widened_whole(model: LanguageModel, like: LanguageModel) -> LanguageModel:
    """`model`, of float32, with the weights of `like`."""
    model.load_state_dict(like.state_dict())
    return model


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("lora", [None, LoRA(rank=2)])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_outputs_and_gradients_are_those_of_weights_widened_once(
    name: str, lora: LoRA | None, dtype: str, tmp_path: Path
) -> None:
    ours = adapted(MODELS[name](tmp_path, dtype=dtype, compute="float32"), lora)
    for update in updates_of(ours).values():
        nn.init.normal_(update)  # so that it changes something
    theirs = widened_whole(adapted(MODELS[name](tmp_path), lora), ours)
    tokens = BATCH.inputs.remainder(len(WORDS))
    for model in (ours, theirs):
        cross_entropy(model, Batch(tokens, BATCH.labels, 0, 0.0)).backward()
    with torch.no_grad():
        assert torch.equal(ours(tokens), theirs(tokens))
    expected = gradients(theirs)
    for part, found in gradients(ours).items():
        if (
            ours.get_submodule(part.rpartition(".")[0]).__class__ is nn.Embedding
        ):  # sums over repeated tokens are narrow
            torch.testing.assert_close(found, expected[part].to(found.dtype), rtol=0.05, atol=1e-3)
        else:
            assert torch.equal(found, expected[part].to(found.dtype)), part


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_a_matrix_of_many_rows_is_widened_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widening, "BLOCK", 1)
    torch.manual_seed(0)
    narrow = nn.Linear(24, 600).bfloat16()
    narrow.bias.data = narrow.bias.data.float()
    ours, theirs = WideLinear(narrow), nn.Linear(24, 600)
    theirs.load_state_dict(narrow.state_dict())
    given, again = (torch.randn(2, 3, 24, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    found, expected = ours(given.requires_grad_()), theirs(again.requires_grad_())
    torch.testing.assert_close(found, expected)
    for outputs in (found, expected):
        outputs.square().sum().backward()
    torch.testing.assert_close(given.grad, again.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad.bfloat16())
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)
    with torch.no_grad():
        peak = peak_live_bytes(lambda: ours(given), ours.parameters(), [given])
    outputs, rows = 4 * 6 * 600, 4 * 256 * (24 + 6)  # a block's weights, and what it gives
    assert peak == sum(p.nbytes for p in ours.parameters()) + outputs + rows


WIDE = {"hidden_size": 64, "intermediate_size": 512, "num_hidden_layers": 4, "vocab_size": 512}
BLOCK_BYTES = 4 * 64 * 512


@pytest.mark.parametrize(
    "optimizer", [MeZO(1e-3, 1e-3), Backprop(1e-3, SGD()), PRGE(1e-3, 1e-3, queries=2)], ids=lambda o: type(o).__name__
)
def test_training_holds_half_the_bytes_of_the_matrices_and_one_block(optimizer: Optimizer) -> None:
    settings = {**CAUSAL["llama"][1], **WIDE}
    adapter = MPLoRA(rank=2) if isinstance(optimizer, PRGE) else LoRA(rank=2)
    narrow = small(settings, adapter, **NARROW)
    matrices = sum(weights.numel() for weights in narrow.parameters() if weights.dtype == torch.bfloat16)
    learner = optimizer.bind(narrow, cross_entropy, seed=0)
    measured = peak_live_bytes(
        lambda: [learner.step(BATCH) for _ in range(2)], narrow.parameters(), [BATCH.inputs, BATCH.labels]
    )
    of_narrow = peak_live(optimizer, small(settings, adapter, **NARROW), BATCH, cross_entropy)
    of_whole = peak_live(optimizer, small(settings, adapter), BATCH, cross_entropy)
    assert of_narrow <= of_whole - 2 * matrices + BLOCK_BYTES
    assert 0.95 < measured / of_narrow < 1.05


def small(settings: dict[str, Any], adapter: Adapter, **options: Any) -> LanguageModel:
    model = random_causal_lm("llama", settings, HashedWords(512), (7, 3), classes=2, seed=0, **options)
    return adapted(model, adapter)


def test_the_analytic_bytes_are_those_that_are_held() -> None:
    model = causal("llama", **NARROW)
    assert parameter_bytes(layer_table(model, (8,)).rows) == sum(p.nbytes for p in model.parameters())
    assert {row.bytes_per_element for row in layer_table(model, (8,)).rows} == {4}


@pytest.mark.parametrize(
    ("names", "capability", "fast"),
    [
        ("sse2 avx2 avx512f avx512_bf16", "AVX512", True),
        ("sse2 avx2 avx512f amx_bf16", "AVX512", True),
        ("sse2 avx2 avx512f avx512_vnni", "AVX512", False),
        ("sse2 avx2 avx512f avx512_bf16", "AVX2", False),
        ("sse2 avx2", "AVX2", False),
        ("neon dotprod bf16", "DEFAULT", True),
        ("neon dotprod", "DEFAULT", False),
    ],
)
def test_instructions_tell_whether_products_of_bfloat16_are_fast(names: str, capability: str, fast: bool) -> None:
    assert speed.names_16_bits(frozenset(names.split()), capability, torch.bfloat16) is fast


@pytest.mark.parametrize(
    ("compute", "dtype", "fast", "device", "expected"),
    [
        ("auto", "bfloat16", False, "cpu", "float32"),
        ("auto", "bfloat16", True, "cpu", "bfloat16"),
        ("auto", "bfloat16", False, "cuda", "bfloat16"),
        ("auto", "float16", False, "cpu", "float32"),
        ("auto", "float32", False, "cpu", "float32"),
        ("float32", "bfloat16", True, "cpu", "float32"),
        (None, "bfloat16", False, "cpu", "bfloat16"),
    ],
)
def test_auto_widens_where_the_processor_is_slow_at_16_bits(
    compute: str | None, dtype: str, fast: bool, device: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(widening, "has_fast_16_bits", lambda _: fast)
    assert computing_type(compute, dtype, device) == expected


def test_auto_is_what_a_model_then_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for fast, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(widening, "has_fast_16_bits", lambda _, fast=fast: fast)
        assert causal("llama", dtype="bfloat16", compute="auto")(prompts()).dtype == expected


def test_a_type_that_weights_are_not_held_in_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"='float16' but the weights are held in bfloat16; choose auto, float32 or bfloat16",
    ):
        causal("llama", dtype="bfloat16", compute="float16")
