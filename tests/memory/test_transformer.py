"""The layer table of transformers, asked by methods, against published totals and the derived table of Fig. 4."""

from dataclasses import replace

import pytest

from tightfit.memory.assumptions import Assumptions, as_assumed
from tightfit.memory.breakdown import Breakdown
from tightfit.memory.cost import backward_work
from tightfit.memory.table import output_bytes
from tightfit.memory.transformer import LowRank, Transformer, transformer_table, with_updates
from tightfit.optimizers.activations.checkpointed import Checkpointed
from tightfit.optimizers.base import Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.sgd import SGD

GPT2_MEDIUM = Transformer("gpt2_medium", "gpt2", 24, 1024, 16, 4096, 50257, positions=1024, tied_head=True)
LLAMA2_7B = Transformer("llama2_7b", "llama", 32, 4096, 32, 11008, 32000)
LLAMA2_13B = Transformer("llama2_13b", "llama", 40, 5120, 40, 13824, 32000)
SMOLLM2_135M = Transformer("smollm2_135m", "llama", 30, 576, 9, 1536, 49152, key_value_heads=3, tied_head=True)
MINILM = Transformer("minilm_l6", "bert", 6, 384, 12, 1536, 30522, positions=512, tied_head=True)
GPT3 = Transformer("gpt3", "gpt2", 96, 12288, 96, 49152, 50257, positions=2048, tied_head=True)

MIXED = Assumptions(rho=1, logits="none", dropout=True)
FP32 = replace(
    MIXED, dropout=False, weight_bytes=4, gradient_bytes=4, state_bytes=4, master_bytes=0, activation_bytes=4
)
ADAM, MEZO = Backprop(1e-3, Adam()), MeZO(lr=1e-3, eps=1e-3)
CHECKPOINTED = Backprop(1e-3, Adam(), Checkpointed())


def need(method: Optimizer, model: Transformer, s: int, b: int, a: Assumptions) -> Breakdown:
    table = transformer_table(model, s, a)
    return as_assumed(method.memory(table, b), table, a)


def block_bytes(model: Transformer, s: int, b: int, a: Assumptions, but: str = "") -> int:
    """What the first block keeps, but for the rows whose names begin with `but`."""
    rows = tuple(row for row in transformer_table(model, s, a).rows if row.block == "layers.0")
    return output_bytes(tuple(row for row in rows if not but or not row.name.startswith(f"layers.0.{but}")), b)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (GPT2_MEDIUM, 354_823_168),
        (LLAMA2_7B, 6_738_415_616),
        (LLAMA2_13B, 13_015_864_320),
        (SMOLLM2_135M, 134_515_008),
        (MINILM, 22_713_216 + 2 * 384 + 2),  # and a new head
    ],
)
def test_parameters_are_those_of_the_published_checkpoints(model: Transformer, parameters: int) -> None:
    assert sum(row.parameters for row in transformer_table(model, 16, MIXED).rows) == parameters


def test_gpt3_layer_holds_the_published_multiple_of_its_input() -> None:
    """Korthikanti et al.: 34 + 5 a s / h = 114 for GPT-3 at 2048 positions, 2.87 GB a layer."""
    layer = block_bytes(GPT3, 2048, 1, MIXED)
    assert layer == 114 * 2048 * 12288
    assert round(layer / 1e9, 2) == 2.87


def test_a_layer_without_its_attention_core_holds_the_34_of_selective_checkpointing() -> None:
    assert block_bytes(GPT3, 2048, 1, MIXED, but="attention") == 34 * 2048 * 12288


@pytest.mark.parametrize(("s", "total"), [(256, 9.7), (384, 12.3), (512, 15.3), (768, 22.6), (1024, 31.4)])
def test_gpt2_medium_by_fp32_adam_needs_the_derived_gigabytes(s: int, total: float) -> None:
    assert round(need(ADAM, GPT2_MEDIUM, s, 8, FP32).total / 1e9, 1) == total


@pytest.mark.parametrize(("s", "total"), [(256, 8.4), (384, 10.5), (512, 13.1), (768, 19.9), (1024, 28.6)])
def test_gpt2_medium_in_mixed_precision_needs_the_derived_gigabytes(s: int, total: float) -> None:
    assert round(need(ADAM, GPT2_MEDIUM, s, 8, MIXED).total / 1e9, 1) == total


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
    held = need(MEZO, model, s, 8, plain)
    as_gpt2 = replace(model, block="gpt2", feed_forward=4 * model.width)
    upper = 0.15 * model.layers * block_bytes(as_gpt2, s, 8, MIXED) + held.parameters
    assert held.total / 1e9 == pytest.approx(low, abs=0.06)
    assert upper / 1e9 == pytest.approx(high, abs=0.06)


@pytest.mark.parametrize("model", [GPT2_MEDIUM, LLAMA2_7B, SMOLLM2_135M])
def test_checkpointing_keeps_a_block_and_what_goes_into_the_others(model: Transformer) -> None:
    border = 2 * 512 * 8 * model.width
    held = need(CHECKPOINTED, model, 512, 8, MIXED).activations
    assert held == (model.layers + 1) * border + block_bytes(model, 512, 8, MIXED)
    assert held < need(ADAM, model, 512, 8, MIXED).activations


def test_fused_attention_makes_memory_linear_in_the_context() -> None:
    fused = replace(MIXED, fused_attention=True)
    assert block_bytes(GPT2_MEDIUM, 1024, 8, fused) == 2 * block_bytes(GPT2_MEDIUM, 512, 8, fused)
    assert block_bytes(GPT2_MEDIUM, 1024, 8, MIXED) > 3 * block_bytes(GPT2_MEDIUM, 512, 8, MIXED)


def test_each_kind_of_number_has_the_size_that_is_assumed() -> None:
    sizes = replace(MIXED, weight_bytes=0.5, gradient_bytes=1, state_bytes=3, master_bytes=5, errors=True)
    held, n = need(ADAM, SMOLLM2_135M, 64, 2, sizes), 134_515_008
    assert (held.parameters, held.gradients, held.optimizer_state) == (n / 2, n, (2 * 3 + 5) * n)
    assert held.errors == held.activations > 0
    plain = need(Backprop(1e-3, SGD()), SMOLLM2_135M, 64, 2, sizes)
    assert plain.optimizer_state == 0  # a rule without a state moves the weights themselves


def test_of_elastic_zo_only_blocks_without_gradients_pass_without_being_kept() -> None:
    a = replace(MIXED, rho=0.25)
    held = need(ElasticZO(lr=1e-3, bp_lr=0.1, eps=1e-3, bp_layers=11), SMOLLM2_135M, 512, 8, a)  # 10, norm and head
    assert held.activations == (10 + 0.25 * 20) * block_bytes(SMOLLM2_135M, 512, 8, a)


def test_low_rank_updates_alone_have_gradients_and_states() -> None:
    a = replace(MIXED, dropout=False)
    table = with_updates(transformer_table(LLAMA2_7B, 512, a), LowRank(8, "[qv]_proj"))
    held = as_assumed(ADAM.memory(table, 8), table, a)
    trained = 32 * 8 * 4 * 4096
    assert (held.gradients, held.optimizer_state) == (2 * trained, 12 * trained)
    assert held.parameters == 2 * (6_738_415_616 + trained)
    between = 2 * 512 * 8 * 32 * 2 * 8  # of the factors of two updates a block
    assert held.activations == need(ADAM, LLAMA2_7B, 512, 8, a).activations + between


@pytest.mark.parametrize("model", [LLAMA2_7B, SMOLLM2_135M])
def test_a_backward_pass_is_two_forward_passes_and_without_the_weights_gradients_little_more_than_one(
    model: Transformer,
) -> None:
    table = transformer_table(model, 512, replace(MIXED, logits="all"))
    assert backward_work(table, table.rows) == 2
    low_rank = with_updates(table, LowRank(1, "[qv]_proj"))
    core = sum(row.operations for row in table.rows if row.kind == "Attention")
    expected = 1 + core / sum(row.operations for row in table.rows)
    assert backward_work(low_rank, low_rank.rows) == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize(
    ("s", "message"),
    [
        (0, r"sequence_length=0 but"),
        (2048, r"sequence_length=2048 but gpt2_medium has 1024 positions; choose 1–1024"),
    ],
)
def test_impossible_sequences_are_refused(s: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transformer_table(GPT2_MEDIUM, s, FP32)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"rho": 0}, "rho=0 is not a share"),
        ({"rho": 1.5}, "rho=1.5"),
        ({"weight_bytes": -1}, "weight_bytes=-1 is no"),
        ({"activation_bytes": 0}, "activation_bytes=0 is no"),
    ],
)
def test_impossible_assumptions_are_refused(option: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(FP32, **option)


@pytest.mark.parametrize(("rank", "targets", "message"), [(0, "", "rank=0 but"), (1, "nosuch", "targets=nosuch finds")])
def test_impossible_updates_are_refused(rank: int, targets: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_updates(transformer_table(SMOLLM2_135M, 4, MIXED), LowRank(rank, targets))
