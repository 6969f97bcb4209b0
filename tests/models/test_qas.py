"""The int8 graph that is trained in place: against whole numbers, against real numbers, and in what it trains."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.synthetic import adapted, bars
from tightfit.datasets.batches import Batches, encoding_for
from tightfit.memory.table import frozen_bytes, layer_table
from tightfit.models.adapters.blocks import Blocks
from tightfit.models.adapters.sparse_update import SparseUpdate, quantized_layers
from tightfit.models.lenet5 import lenet5
from tightfit.models.lenet5_qas import HIDDEN, PIXELS, LeNet5QAS, centred, lenet5_qas
from tightfit.models.qas_layers import Conv2d, Linear, QuantizedLayer
from tightfit.optimizers.base import Batch
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.forward_gradient import ForwardGradient
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.sgd import PLAIN, SGD
from tightfit.run.evaluate import cross_entropy

SHAPE = (1, 28, 28)
NAMES = ("conv1", "conv2", "fc1", "fc2", "fc3")
ALL = dict.fromkeys(NAMES, 1.0)
SOME = SparseUpdate(3, {"conv2": 0.5, "fc1": 0.125, "fc3": 1})


def batch(step: int = 0) -> Batch:
    dataset = bars()
    stream = Batches(dataset, 16, 0, "cpu", encoding_for(lenet5_qas(10, 0), dataset))
    return Batch(*stream.batch(step), step=step, epoch=0.0)


def trained(model: LeNet5QAS, lr: float = 0.05, rule: Any = PLAIN, steps: int = 3) -> LeNet5QAS:
    learner = Backprop(lr, rule).bind(model, cross_entropy, 0)
    for step in range(steps):
        learner.step(batch(step))
    return model


def weights_of(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().float() for parameter in model.parameters()])


def test_pixels_stand_for_what_they_stood_for() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    real = (centred(pixels).float() - PIXELS.zero) * PIXELS.scale
    assert torch.equal(real, (pixels.float() - 32) / 64)


@pytest.mark.parametrize("channels", [None, [0, 2, 5]])
def test_a_layer_computes_what_whole_numbers_do(channels: list[int] | None) -> None:
    layer = Conv2d(6, 4, 3, 5, HIDDEN, HIDDEN, True)
    with torch.no_grad():
        layer.bias.copy_(1000 * torch.randn(4))
    expected = layer.whole_numbers().long()
    if channels is not None:
        layer.train_channels_(torch.tensor(channels))
    assert torch.equal(layer.whole_numbers().long(), expected)
    inputs = torch.randint(-128, 128, (3, 6, 5, 5))
    sums = F.conv2d((inputs - HIDDEN.zero).double(), expected.double(), layer.bias.round().double(), padding=1)
    scaled = sums.float() * (layer.weight_scale * HIDDEN.scale / HIDDEN.scale).view(-1, 1, 1)
    assert sums.abs().max() < 2**24  # exact in float32
    assert torch.equal(layer(inputs.float()), (scaled.round() + HIDDEN.zero).clamp(-128, 127))


class InRealNumbers:
    """The same network with real weights, and plain autograd: what is rounded is passed over, what is clipped stops."""

    def __init__(self, model: LeNet5QAS) -> None:
        self.model = model
        self.layers = quantized_layers(model)
        self.weights = {
            name: self.leaf(layer.weight, layer.along(layer.weight_scale, 0)) for name, layer in self.layers.items()
        }
        self.biases = {name: self.leaf(layer.bias, layer.bias_scale) for name, layer in self.layers.items()}

    def leaf(self, whole: Any, scale: torch.Tensor) -> torch.Tensor:
        return (whole.detach() * scale).double().requires_grad_()

    def gradients(self, batch: Batch) -> None:
        whole, real = batch.inputs.float(), (batch.inputs.double() - PIXELS.zero) * PIXELS.scale
        for name, module in self.model.named_children():
            whole = module(whole).detach()
            real = self.quantized(name, module, real, whole) if isinstance(module, QuantizedLayer) else module(real)
        F.cross_entropy(real, batch.labels).backward()

    def quantized(self, name: str, layer: QuantizedLayer, inputs: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
        weight = stood_for(self.weights[name], layer.whole_numbers() * layer.along(layer.weight_scale, 0))
        bias = stood_for(self.biases[name], layer.bias.detach().round() * layer.bias_scale)
        product = F.linear(inputs, weight, bias) if layer.further == 0 else F.conv2d(inputs, weight, bias, padding=2)
        if layer.gives is None:
            return product
        number = (product / layer.gives.scale).round() + layer.gives.zero
        open_ = product * ((number >= -128) & (number <= 127))
        return stood_for(open_, (whole - layer.gives.zero) * layer.gives.scale)


def stood_for(value: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    """`by`, with the gradient of `value`."""
    return value + (by.double() - value).detach()


def test_a_scaled_step_is_the_step_of_the_real_numbers() -> None:
    model = trained(lenet5_qas(10, 0))  # weights between whole numbers
    real = InRealNumbers(model)
    real.gradients(batch(5))
    Backprop(0.05, SGD()).bind(model, cross_entropy, 0).step(batch(5))
    for name, layer in real.layers.items():
        for leaf, now, scale in (
            (real.weights[name], layer.weight, layer.along(layer.weight_scale, 0)),
            (real.biases[name], layer.bias, layer.bias_scale),
        ):
            assert leaf.grad is not None
            assert now is not None
            moved = now.detach().double() * scale - leaf.detach()
            largest = leaf.grad.abs().max().item()
            # Whole numbers up to 60 in float32 move by as little as 2**−19 of a scale.
            torch.testing.assert_close(moved, -0.05 * leaf.grad, rtol=1e-3, atol=1e-3 * 0.05 * largest)


def ratios(weights: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """‖W‖ / ‖G‖ of each row, where it has a gradient."""
    norms = gradients.flatten(1).norm(dim=1)
    return (weights.detach().flatten(1).norm(dim=1) / norms)[norms > 0]


@pytest.mark.parametrize("scaled", [True, False])
def test_weights_and_gradients_are_in_the_ratio_of_the_real_numbers_where_they_are_scaled(scaled: bool) -> None:
    model = lenet5_qas(10, 0, scaled)
    real = InRealNumbers(model)
    real.gradients(batch())
    cross_entropy(model, batch()).backward()
    for name, layer in real.layers.items():
        assert layer.weight is not None
        assert layer.weight.grad is not None
        gradient = real.weights[name].grad
        assert gradient is not None
        ours, theirs = ratios(layer.weight, layer.weight.grad), ratios(real.weights[name], gradient)
        assert len(ours) > 2
        if scaled:
            torch.testing.assert_close(ours.double(), theirs, rtol=3e-3, atol=0)
        else:
            assert (ours / theirs > 1000).all()


def test_where_all_biases_and_channels_are_trained_it_is_full_backpropagation() -> None:
    whole, sparse = trained(lenet5_qas(10, 0)), trained(adapted(lenet5_qas(10, 0), SparseUpdate(5, ALL)))
    assert torch.equal(weights_of(whole), weights_of(sparse))


def test_where_all_of_the_last_layers_is_trained_it_is_the_training_of_these_blocks() -> None:
    blocks, sparse = (trained(adapted(lenet5_qas(10, 0), each)) for each in (Blocks(2), LAST_TWO))
    assert torch.equal(blocks(batch().inputs), sparse(batch().inputs))
    for name in ("fc2", "fc3"):
        ours, theirs = quantized_layers(sparse)[name], quantized_layers(blocks)[name]
        assert torch.equal(torch.as_tensor(ours.weight), torch.as_tensor(theirs.weight))
        assert torch.equal(ours.bias, theirs.bias)


LAST_TWO = SparseUpdate(2, {"fc2": 1, "fc3": 1})


@pytest.mark.parametrize("rule", [SGD(), Adam()], ids=lambda each: each.kind)
def test_frozen_channels_and_biases_keep_every_bit_and_the_others_move(rule: Any) -> None:
    model = adapted(lenet5_qas(10, 0), SOME)
    layers = quantized_layers(model)
    before = {name: (layer.whole_numbers(), layer.bias.detach().clone()) for name, layer in layers.items()}
    trained(model, lr=1.0, rule=rule)
    for name, layer in layers.items():
        weights, bias = before[name]
        moved = (layer.whole_numbers() != weights).transpose(0, 1).flatten(1).any(1)
        count = {"conv2": 3, "fc1": 98, "fc3": 84}.get(name, 0)
        assert moved.sum() <= count
        assert bool(moved.any()) == bool(count)
        if layer.frozen is not None and layer.weight is not None:
            assert set(moved.nonzero().flatten().tolist()) <= set(layer.channels.tolist())
        assert torch.equal(layer.bias, bias) == (name in ("conv1", "conv2"))


def test_gradients_of_some_channels_are_those_of_all() -> None:
    whole, some = lenet5_qas(10, 0), adapted(lenet5_qas(10, 0), SOME)
    for model in (whole, some):
        cross_entropy(model, batch()).backward()
    for name in ("conv2", "fc1", "fc3"):
        all_of_it, part = quantized_layers(whole)[name], quantized_layers(some)[name]
        assert all_of_it.weight is not None
        assert all_of_it.weight.grad is not None
        assert part.weight is not None
        expected = part.of_trained(all_of_it.weight.grad)
        torch.testing.assert_close(part.weight.grad, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert quantized_layers(some)["conv1"].bias.grad is None


def test_the_channels_with_the_largest_weights_are_chosen() -> None:
    model = lenet5_qas(10, 0)
    layer = quantized_layers(model)["fc2"]
    assert layer.weight is not None
    real = (layer.weight.detach() * layer.weight_scale[:, None]).tolist()
    norms = [sum(row[place] ** 2 for row in real) for place in range(120)]
    SparseUpdate(0, {"fc2": 0.25}).inject(model, 0)
    assert layer.channels.tolist() == sorted(sorted(range(120), key=lambda place: -norms[place])[:30])


def test_bytes_are_those_of_the_int8_graph() -> None:
    table = layer_table(adapted(lenet5_qas(10, 0), SOME), SHAPE)
    need = Backprop(0.05, SGD()).memory(table, 8)
    weights = {"conv2": 16 * 3 * 25, "fc1": 120 * 98, "fc3": 840}
    elements = sum(weights.values()) + 120 + 84 + 10
    hidden = 6 * 28 * 28 + 6 * 14 * 14 + 16 * 14 * 14 + 16 * 7 * 7 + 120 + 84
    behind = 16 * 14 * 14 + 16 * 7 * 7 + 120 + 84 + 10  # from conv2 on
    assert need.gradients == 4 * elements
    assert need.activations == 8 * (hidden + 4 * 10)
    assert need.errors == 8 * 4 * behind
    frozen = 150 + 2400 + 94080 + 10080 + 840 - sum(weights.values()) + 4 * (6 + 16)
    assert frozen_bytes(table.rows) == frozen
    assert need.parameters == 4 * elements + frozen


def test_last_layers_take_the_same_bytes_whichever_adapter_chooses_them() -> None:
    tables = [layer_table(adapted(lenet5_qas(10, 0), each), SHAPE) for each in (Blocks(2), LAST_TWO)]
    first, second = (Backprop(0.05, SGD()).memory(table, 8) for table in tables)
    assert first == second
    assert frozen_bytes(tables[0].rows) == frozen_bytes(tables[1].rows)


def kept_by(layer: QuantizedLayer, inputs: torch.Tensor) -> list[tuple[torch.dtype, int]]:
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        layer(inputs)
    return [(tensor.dtype, tensor.numel()) for tensor in kept]


def test_a_layer_keeps_trained_channels_of_its_inputs_in_int8_and_what_was_clipped() -> None:
    layer, inputs = Conv2d(6, 16, 5, 14, HIDDEN, HIDDEN, True), torch.zeros(2, 6, 14, 14)
    mask = (torch.bool, 2 * 16 * 196)
    assert kept_by(layer, inputs) == [(torch.int8, 2 * 6 * 196), mask]
    layer.train_channels_(torch.tensor([1, 4]))
    assert kept_by(layer, inputs) == [(torch.int8, 2 * 2 * 196), mask]
    alone = Conv2d(6, 16, 5, 14, HIDDEN, HIDDEN, True)
    alone.train_channels_(torch.tensor([], dtype=torch.int64))
    assert kept_by(alone, inputs) == [mask]
    alone.bias.requires_grad_(False)
    assert kept_by(alone, inputs) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SparseUpdate(-1), r"adapter.biases=-1 counts no layers; choose 0 or more"),
        (lambda: SparseUpdate(0), r"adapter=sparse_update trains nothing; choose adapter.biases=1"),
        (lambda: SparseUpdate(0, {"fc1": 2}), r"adapter.weights.fc1=2 is no share of channels; choose from 0 to 1"),
        (lambda: SparseUpdate(6).inject(lenet5_qas(10, 0), 0), r"biases=6 but LeNet5QAS has 5 quantized .*choose 0–5"),
        (
            lambda: SparseUpdate(1, {"fc9": 1}).inject(lenet5_qas(10, 0), 0),
            r"weights.fc9 is no quantized layer",
        ),
        (lambda: SparseUpdate(1).inject(lenet5(10, 0), 0), r"LeNet5 has none; choose model=lenet5_qas, or adapter=bl"),
        (
            lambda: MeZO(1.0, 1e-3).bind(lenet5_qas(10, 0), cross_entropy, 0),
            r"optimizer.eps=0.001 moves no weight of LeNet5QAS to another number.*choose optimizer.eps=1",
        ),
        (
            lambda: ForwardGradient(1.0).bind(lenet5_qas(10, 0), cross_entropy, 0),
            r"optimizer=forward_gradient carries derivatives forwards, and LeNet5QAS rounds its weights; choose",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_zeroth_order_steps_move_it_where_they_reach_other_whole_numbers() -> None:
    model = lenet5_qas(10, 0)
    before = weights_of(model)
    report = MeZO(10.0, 1.0).bind(model, cross_entropy, 0).step(batch())
    assert report.scalars
    assert not torch.equal(weights_of(model), before)


def test_linear_layers_are_their_own_kind_so_that_adapters_leave_them_alone() -> None:
    assert not issubclass(Linear, nn.Linear)
