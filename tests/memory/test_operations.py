"""Every operation of every kind of model, and what autograd keeps, against real passes and sums by hand."""

import pytest
from torch import nn

from tests.test_rehearsal import SUBJECTS, llama, real_batch
from tightfit.memory.measured import LiveBytes
from tightfit.memory.operations import Operation, operation_table
from tightfit.models.lenet5 import lenet5
from tightfit.numerics.int8 import matmul as integer_matmul


def table_of(subject: str, batch_size: int) -> tuple[nn.Module, tuple[Operation, ...]]:
    build, shape, _ = SUBJECTS[subject]
    model = build()
    return model, operation_table(model, shape, batch_size)


def test_lenet5_row_by_row() -> None:
    model = lenet5(classes=10, seed=0)
    rows = operation_table(model, (1, 28, 28))
    pixels, half, quarter = 28 * 28 * 4, 14 * 14 * 4, 7 * 7 * 4
    indices = 2  # of a pooled maximum, as int64: twice the bytes of the maximum itself
    assert rows == (
        Operation("conv1", "convolution", 156, pixels, 6 * pixels, 0),
        Operation("relu1", "relu", 0, 6 * pixels, 6 * pixels, 6 * pixels),
        Operation(
            "pool1", "max_pool2d_with_indices", 0, 6 * pixels, 6 * half * (1 + indices), 6 * half * (1 + indices)
        ),
        Operation("conv2", "convolution", 2416, 6 * half, 16 * half, 0),
        Operation("relu2", "relu", 0, 16 * half, 16 * half, 16 * half),
        Operation(
            "pool2", "max_pool2d_with_indices", 0, 16 * half, 16 * quarter * (1 + indices), 16 * quarter * (1 + indices)
        ),
        Operation("fc1", "addmm", 94200, 16 * quarter, 480, 0),
        Operation("relu3", "relu", 0, 480, 480, 480),
        Operation("fc2", "addmm", 10164, 480, 336, 0),
        Operation("relu4", "relu", 0, 336, 336, 336),
        Operation("fc3", "addmm", 850, 336, 40, 0),
    )


@pytest.mark.parametrize("subject", [name for name in SUBJECTS if name != "lenet5_int8"])
def test_what_autograd_keeps_is_what_lives_after_a_real_pass(subject: str) -> None:
    model, rows = table_of(subject, 9)
    inputs = real_batch(model, SUBJECTS[subject][1], 9).inputs
    live = LiveBytes(model.parameters(), uncounted=(inputs, *model.buffers()))
    weights = live.live
    with live:
        logits = model(inputs)
        kept_and_logits = live.live - weights
    assert sum(row.kept for row in rows) == kept_and_logits - (0 if rows[-1].kept else logits.nbytes)


def test_functions_without_a_module_are_seen() -> None:
    model = llama("eager")  # 4 heads, 2 layers
    rows = operation_table(model, (16,), batch_size=3)
    softmax = [row for row in rows if row.kind == "_softmax"]
    assert [row.module for row in softmax] == ["lm.model.layers.0.self_attn", "lm.model.layers.1.self_attn"]
    assert {row.outputs for row in softmax} == {3 * 4 * 16 * 16 * 4}
    residuals = [row for row in rows if row.kind == "add" and row.module == "lm.model.layers.1"]
    assert [row.outputs for row in residuals] == 2 * [3 * 16 * 32 * 4]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_each_parameter_is_read(subject: str) -> None:
    model, rows = table_of(subject, 2)
    assert sum(row.parameters for row in rows) == sum(weight.numel() for weight in model.parameters())


def test_frozen_weights_keep_fewer_activations() -> None:
    kept = {name: sum(row.kept for row in table_of(name, 4)[1]) for name in ("llama", "llama_lora")}
    assert 0 < kept["llama_lora"] < kept["llama"]


def test_integers_have_operations_and_keep_nothing_for_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integer_matmul, "has_fast_int8", lambda: True)
    monkeypatch.setattr(integer_matmul, "int8_is_exact", lambda: True)
    _, rows = table_of("lenet5_int8", 4)
    products = [row for row in rows if row.kind == "_int_mm"]
    assert [row.module for row in products] == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert [row.outputs for row in products] == [4 * 4 * size for size in (6 * 28 * 28, 16 * 14 * 14, 120, 84, 10)]
    assert not any(row.kept for row in rows)


@pytest.mark.parametrize("subject", ["pointnet", "llama_lora"])
def test_no_weights_are_needed_and_the_model_is_left_as_it_is(subject: str) -> None:
    model, rows = table_of(subject, 2)
    assert not any(module._forward_hooks for module in model.modules())
    assert operation_table(model.to("meta"), SUBJECTS[subject][1], 2) == rows
