"""The numbers of a plan against what they count: layers, checkpoints, runs, and each other at their ends."""

import subprocess
import sys

import pytest
from torch import nn

from tightfit.memory.assumptions import Assumptions
from tightfit.memory.table import layer_table
from tightfit.memory.transformer import Transformer, linear, transformer_table
from tightfit.models.adapters.frozen import FROZEN
from tightfit.models.lenet5 import lenet5
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.plan.frozen import held
from tightfit.plan.models import llama2

from .asked import only, plan


def test_the_family_passes_through_the_published_members() -> None:
    for place, parameters in ((32, 6_738_415_616), (40, 13_015_864_320)):
        rows = transformer_table(llama2(place), 1, Assumptions(rho=1)).rows
        assert sum(row.parameters for row in rows) == parameters
    assert llama2(32) == Transformer("llama2_32x4096", "llama", 32, 4096, 32, 11008, 32000)


def test_described_models_have_the_parameters_of_their_checkpoints(capsys) -> None:
    rows = plan(capsys, "model=llama2_7b,llama2_13b,gpt2_medium,smollm2_135m,opt_1_3b", "optimizer=mezo")
    counted = [row["parameters"] for row in rows]
    assert counted == [6_738_415_616, 13_015_864_320, 354_823_168, 134_515_008, 1_315_758_080]


def test_low_rank_updates_of_a_model_are_planned_with_it(capsys) -> None:
    words = ("optimizer=bp_adam", "assumptions.logits=none")
    whole, low_rank = plan(capsys, "model=smollm2_135m,smollm2_135m_lora", *words)
    trained = 30 * 8 * (3 * 576 + 192)
    assert low_rank["optimizer"] == "bp_adam + lora"
    assert low_rank["parameters"] == whole["parameters"] + trained
    assert low_rank["gradients_bytes"] == 2 * trained


@pytest.mark.parametrize("bits", [4, 8])
def test_a_frozen_base_is_planned_in_the_bytes_that_it_has(bits: int) -> None:
    assumed = Assumptions(rho=1, weight_bytes=4)
    for inside, outside in ((128, 24), (40, 24)):  # of 40 inputs no 64 share a scale
        layer = FROZEN[bits](nn.Linear(inside, outside, bias=False))
        row = linear("q_proj", inside, outside, 1, assumed)
        assert held(row, bits, 4) == sum(parameter.nbytes for parameter in layer.parameters())


def test_a_frozen_base_saves_what_its_rounded_layers_save(capsys) -> None:
    whole, rounded = plan(capsys, "model=smollm2_135m", "optimizer=mezo", "adapter=lora,lora_8bit")
    layers = 30 * (2 * 576 * 576 + 2 * 192 * 576 + 3 * 1536 * 576)  # of the numbered blocks
    rows_of_weights = 30 * (2 * 576 + 2 * 192 + 2 * 1536 + 576)  # a scale of two bytes each
    assert whole["parameters_bytes"] - rounded["parameters_bytes"] == layers - 2 * rows_of_weights
    assert rounded["activations_bytes"] - whole["activations_bytes"] == 2 * 1536 * 576  # one of them widened


def test_small_networks_are_planned_as_their_runs_count_them(capsys) -> None:
    planned = only(capsys, "device=1MiB", "model=lenet5", "optimizer=elastic_zo", "training.batch_size=32")
    method = ElasticZO(lr=1e-3, bp_lr=0.1, eps=1e-3, bp_layers=1)
    expected = method.memory(layer_table(lenet5(10, 0), (1, 28, 28)), 32)
    assert planned["total_bytes"] == expected.total
    assert planned["backward"] == pytest.approx(2 * 1680 / 1_386_000, rel=0.01)  # the last layer's share of products
    assert planned["sequence_length"] is None


def test_elastic_zo_goes_from_zeroth_order_to_backpropagation(capsys) -> None:
    elastic = ("model=smollm2_135m", "optimizer=elastic_zo")
    none = only(capsys, *elastic, "optimizer.bp_layers=0")
    every = only(capsys, *elastic, "optimizer.bp_layers=32")
    mezo = only(capsys, "model=smollm2_135m", "optimizer=mezo")
    backpropagation = only(capsys, "model=smollm2_135m", "optimizer=bp_sgd")
    same = [name for name in mezo if name != "optimizer"]
    assert [none[name] for name in same] == [mezo[name] for name in same]
    for kind in ("parameters", "gradients", "activations", "total"):
        assert every[f"{kind}_bytes"] == backpropagation[f"{kind}_bytes"]
    assert (every["forward"], every["backward"]) == (2, 2)


def test_a_step_costs_what_is_computed_and_what_is_moved(capsys) -> None:
    words = ("model=llama2_7b", "device.flops_per_second=1e30", "device.bytes_per_second=1e9", "device=a100_80gb")
    mezo = only(capsys, *words, "optimizer=mezo")
    # Memory alone counts: each of two passes reads the weights once, each of two sweeps reads and writes them.
    assert mezo["seconds_at_peak"] == pytest.approx((2 + 2 * 2) * mezo["parameters_bytes"] / 1e9)
    # P-RGE reads them once for eight passes in one, and sweeps over adapters alone.
    p_rge = only(capsys, *words, "optimizer=p_rge")
    assert p_rge["seconds_at_peak"] == pytest.approx(p_rge["parameters_bytes"] / 1e9)
    rows = plan(capsys, "model=llama2_7b", "optimizer=bp_adam,bp_adam_checkpointed,mezo")
    assert [(row["forward"], row["backward"], row["sweeps"]) for row in rows] == [(1, 2, 0), (2, 2, 0), (2, 0, 2)]


def test_13b_is_planned_in_far_less_memory_than_it_has_weights() -> None:
    code = (
        "import sys, resource; from tightfit.plan.__main__ import main; "
        "assert main(['model=llama2_13b', 'optimizer=mezo']) == 0; "
        "assert 'transformers' not in sys.modules; "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024))"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert int(said.splitlines()[-1]) < 2e9
