"""The closed forms of transformer memory against published totals and the derived table of the Fig. 4 reading."""

from dataclasses import replace

import pytest

from tightfit.memory.transformer import (
    Assumptions,
    Transformer,
    backpropagation,
    block_bytes,
    stored_bytes,
    zeroth_order,
)

GPT2_MEDIUM = Transformer("gpt2_medium", "gpt2", 24, 1024, 16, 4096, 50257, positions=1024, tied_head=True)
LLAMA2_7B = Transformer("llama2_7b", "llama", 32, 4096, 32, 11008, 32000)
LLAMA2_13B = Transformer("llama2_13b", "llama", 40, 5120, 40, 13824, 32000)
SMOLLM2_135M = Transformer("smollm2_135m", "llama", 30, 576, 9, 1536, 49152, key_value_heads=3, tied_head=True)
GPT3 = Transformer("gpt3", "gpt2", 96, 12288, 96, 49152, 50257, positions=2048, tied_head=True)

FP32 = Assumptions(rho=1, logits="none", weight_bytes=4, gradient_bytes=4, state_bytes=8, activation_bytes=4)
MIXED = Assumptions(rho=1, logits="none", dropout=True)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (GPT2_MEDIUM, 354_823_168),
        (LLAMA2_7B, 6_738_415_616),
        (LLAMA2_13B, 13_015_864_320),
        (SMOLLM2_135M, 134_515_008),
    ],
)
def test_parameters_are_those_of_the_published_checkpoints(model: Transformer, parameters: int) -> None:
    assert model.parameters == parameters


def test_gpt3_layer_holds_the_published_multiple_of_its_input() -> None:
    """Korthikanti et al.: 34 + 5 a s / h = 114 for GPT-3 at 2048 positions, 2.87 GB a layer."""
    layer = block_bytes(GPT3, 2048, 1, MIXED)
    assert layer == 114 * 2048 * 12288
    assert round(layer / 1e9, 2) == 2.87


def test_selective_checkpointing_leaves_the_34_of_a_layer_and_one_attention_core() -> None:
    selective = stored_bytes(GPT3, 2048, 1, replace(MIXED, checkpointing="selective"))
    assert selective == (96 * 34 + 80) * 2048 * 12288


@pytest.mark.parametrize(("s", "total"), [(256, 9.7), (384, 12.3), (512, 15.3), (768, 22.6), (1024, 31.4)])
def test_gpt2_medium_by_fp32_adam_needs_the_derived_gigabytes(s: int, total: float) -> None:
    assert round(backpropagation(GPT2_MEDIUM, s, 8, FP32).total / 1e9, 1) == total


@pytest.mark.parametrize(("s", "total"), [(256, 8.4), (384, 10.5), (512, 13.1), (768, 19.9), (1024, 28.6)])
def test_gpt2_medium_in_mixed_precision_needs_the_derived_gigabytes(s: int, total: float) -> None:
    assert round(backpropagation(GPT2_MEDIUM, s, 8, MIXED).total / 1e9, 1) == total


@pytest.mark.parametrize(
    ("model", "weight_bytes", "s", "low", "high"),
    [
        (LLAMA2_7B, 2, 256, 15.1, 15.2),
        (LLAMA2_7B, 2, 512, 17.1, 17.8),
        (LLAMA2_7B, 2, 1024, 22.1, 25.4),
        (LLAMA2_13B, 1, 384, 17.1, 17.6),
        (LLAMA2_13B, 1, 1024, 26.5, 31.6),
    ],
)
def test_llama_with_015_of_its_layers_needs_the_derived_gigabytes(
    model: Transformer, weight_bytes: int, s: int, low: float, high: float
) -> None:
    """From the gated block without dropout to Korthikanti's block of the same width with it."""
    plain = Assumptions(rho=0.15, logits="none", weight_bytes=weight_bytes)
    as_gpt2 = replace(model, block="gpt2", feed_forward=4 * model.width)
    upper = 0.15 * model.layers * block_bytes(as_gpt2, s, 8, MIXED) + weight_bytes * model.parameters
    assert zeroth_order(model, s, 8, plain).total / 1e9 == pytest.approx(low, abs=0.06)
    assert upper / 1e9 == pytest.approx(high, abs=0.06)


@pytest.mark.parametrize("model", [GPT2_MEDIUM, LLAMA2_7B, SMOLLM2_135M])
def test_checkpointing_holds_less_and_never_less_than_zeroth_order_training(model: Transformer) -> None:
    """The square-root segments contain both ends: every layer, and no checkpoint but the first input."""
    none, every, root = (
        stored_bytes(model, 512, 8, replace(MIXED, checkpointing=policy)) for policy in ("none", "every_layer", "sqrt")
    )
    assert root <= every < none
    assert root > block_bytes(model, 512, 8, MIXED)


def test_fused_attention_makes_memory_linear_in_the_context() -> None:
    fused = replace(MIXED, fused_attention=True)
    assert block_bytes(GPT2_MEDIUM, 1024, 8, fused) == 2 * block_bytes(GPT2_MEDIUM, 512, 8, fused)
    assert block_bytes(GPT2_MEDIUM, 1024, 8, MIXED) > 3 * block_bytes(GPT2_MEDIUM, 512, 8, MIXED)


@pytest.mark.parametrize(
    ("s", "b", "message"),
    [
        (512, 0, r"batch_size=0 but a step needs at least one sequence"),
        (0, 8, r"sequence_length=0 but"),
        (2048, 8, r"sequence_length=2048 but gpt2_medium has 1024 positions; choose 1–1024"),
    ],
)
def test_impossible_batches_are_refused(s: int, b: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zeroth_order(GPT2_MEDIUM, s, b, FP32)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"rho": 0}, "rho=0 is not a share"),
        ({"rho": 1.5}, "rho=1.5"),
        ({"weight_bytes": -1}, "weight_bytes=-1 is no"),
    ],
)
def test_impossible_assumptions_are_refused(option: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(FP32, **option)
