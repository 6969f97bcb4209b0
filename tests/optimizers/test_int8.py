"""What integer training promises beyond the contract of all methods."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.synthetic import bars
from tightfit.datasets.batches import Batches, encoding_for
from tightfit.models.int8_layers import Conv2d, Int8Sequential, Linear, MaxPool2x2, ReLU
from tightfit.models.lenet5_int8 import lenet5_int8
from tightfit.numerics.int8 import arithmetic as int8
from tightfit.numerics.int8 import compiled_sweeps as int8_compiled
from tightfit.numerics.int8 import matmul as integer_matmul
from tightfit.numerics.int8.arithmetic import Number
from tightfit.numerics.int8.matmul import BACKENDS, int8_is_exact
from tightfit.numerics.int8.perturbation import Int8Perturbation
from tightfit.optimizers.base import Batch, Optimizer
from tightfit.optimizers.elastic_zo_int8 import ElasticZOInt8
from tightfit.optimizers.loss_sign import SignAudit
from tightfit.optimizers.niti_bp import NITIBP, IntegerBackward
from tightfit.run.evaluate import cross_entropy


class Dtypes(TorchDispatchMode):
    """Collects the dtypes of all tensors that operators return."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.seen |= {leaf.dtype for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)}
        return result


@pytest.fixture
def any_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Int8 products are taken even where they are not exact: types do not depend on it."""
    monkeypatch.setattr(integer_matmul, "int8_is_exact", lambda: True)


def dtypes_of_two_steps(optimizer: Optimizer) -> set[torch.dtype]:
    dataset, model = bars(), lenet5_int8(10, seed=0, backend="int8")
    batches = Batches(dataset, 16, 0, "cpu", encoding_for(model, dataset))
    with Dtypes() as dtypes:
        learner = optimizer.bind(model, cross_entropy, seed=0)
        for step in range(2):
            learner.step(Batch(*batches.batch(step), step, 0.0))
    return dtypes.seen


@pytest.mark.parametrize(
    "optimizer",
    [
        ElasticZOInt8(15, 0.33, loss_sign="integer"),
        ElasticZOInt8(15, 0.33, loss_sign="integer", fraction_bits=4),
        ElasticZOInt8(15, 0.33, bp_layers=2, loss_sign="integer"),
        ElasticZOInt8(15, 0.33, bp_layers=5, loss_sign="integer"),
    ],
)
def test_integer_step_makes_no_floating_point_tensor_from_pixels_to_weights(
    optimizer: Optimizer, any_int8: None
) -> None:
    assert not any(dtype.is_floating_point for dtype in dtypes_of_two_steps(optimizer))


def test_float_loss_sign_is_seen_by_that_test(any_int8: None) -> None:
    assert torch.float32 in dtypes_of_two_steps(ElasticZOInt8(15, 0.33, loss_sign="float"))


def pixels_and_labels() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(-90, 91, (16, 1, 28, 28), generator=generator, dtype=torch.int8)
    return pixels, torch.randint(0, 10, (16,), generator=generator)


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.flatten() for parameter in model.parameters()])


def trained(optimizer: Optimizer, steps: int = 4) -> torch.Tensor:
    model, (inputs, labels) = lenet5_int8(10, seed=0), pixels_and_labels()
    learner = optimizer.bind(model, cross_entropy, seed=0)
    for step in range(steps):
        learner.step(Batch(inputs, labels, step, 0.0))
    return weights(model)


def test_elastic_zo_int8_with_all_layers_is_niti_bp() -> None:
    assert torch.equal(trained(ElasticZOInt8(15, 0.33, bp_layers=5)), trained(NITIBP(5)))


def test_every_backend_trains_the_same_weights() -> None:
    inputs, labels = pixels_and_labels()
    ends = []
    for backend in BACKENDS if int8_is_exact() else [each for each in BACKENDS if each != "int8"]:
        model = lenet5_int8(10, 0, backend)
        learner = ElasticZOInt8(15, 0.33, bp_layers=4).bind(model, cross_entropy, seed=0)
        for step in range(2):
            learner.step(Batch(inputs[:4], labels[:4], step, 0.0))
        ends.append(weights(model))
    assert all(torch.equal(ends[0], end) for end in ends[1:])


class Products(TorchDispatchMode):
    """Counts int8 products."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._int_mm.default and not args[0].is_meta  # of a layer table, which is free
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("optimizer", [ElasticZOInt8(15, 0.33, bp_layers=2), NITIBP(5)])
def test_no_int8_product_where_the_processor_is_slow_at_them(
    optimizer: Optimizer, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integer_matmul, "has_fast_int8", lambda: fast)
    monkeypatch.setattr(integer_matmul, "int8_is_exact", lambda: True)
    images, labels = torch.zeros(64, 1, 28, 28, dtype=torch.int8), torch.zeros(64, dtype=torch.int64)
    with Products() as products:
        optimizer.bind(lenet5_int8(10, seed=0), cross_entropy, seed=0).step(Batch(images, labels, 0, 0.0))
    assert (products.count > 0) == fast


@pytest.mark.parametrize("optimizer", [ElasticZOInt8(15, 0.33, bp_layers=2, loss_sign="integer"), NITIBP(5)])
def test_compiled_and_eager_sweeps_train_the_same_weights(
    optimizer: Optimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = []
    for sweeps in (int8_compiled, None):
        monkeypatch.setattr(int8, "compiled", sweeps)
        ends.append(trained(optimizer))
    assert torch.equal(*ends)


def test_audit_counts_agreement_and_ties_and_changes_nothing() -> None:
    assert torch.equal(
        trained(ElasticZOInt8(15, 0.33, loss_sign="integer", audit=True)),
        trained(ElasticZOInt8(15, 0.33, loss_sign="integer")),
    )
    audit, labels = SignAudit(), torch.tensor([0])
    better, worse = (
        Number(torch.tensor([[logit, 0]], dtype=torch.int8), torch.tensor(-5, dtype=torch.int32)) for logit in (50, 10)
    )
    for taken in (1, -1, 0, 1):
        audit.count(taken, worse, better, labels)
    assert audit.scalars() == {"sign_agreement": 0.5, "sign_ties": 0.25}


def test_exponents_of_weights_stay_what_they_were() -> None:
    model, (inputs, labels) = lenet5_int8(10, seed=0), pixels_and_labels()
    before = {name: int(value) for name, value in model.named_buffers()}
    learner = NITIBP(5).bind(model, cross_entropy, seed=0)
    for step in range(3):
        learner.step(Batch(inputs, labels, step, 0.0))
    assert {name: int(value) for name, value in model.named_buffers()} == before
    assert len(before) == 5


def moved_and_restored(start: int, saturation: str) -> tuple[torch.Tensor, torch.Tensor]:
    weight = torch.nn.Parameter(torch.full((4000,), start, dtype=torch.int8), requires_grad=False)
    perturbation = Int8Perturbation([("weight", weight)], 0, 15, saturation)
    before = weight.clone()
    perturbation.add_(1, 0, 0.33)
    perturbation.add_(-2, 0, 0.33)
    perturbation.restore_and_update_(0, 1, 0, 0.33)
    return before, weight


@pytest.mark.parametrize(("start", "saturation"), [(0, "clip"), (112, "clip"), (-112, "clip"), (127, "headroom")])
def test_weights_with_room_are_restored_exactly_when_the_losses_are_equal(start: int, saturation: str) -> None:
    before, after = moved_and_restored(start, saturation)
    assert torch.equal(before, after)


def test_clipped_weights_drift_inwards_by_less_than_the_perturbation() -> None:
    before, after = moved_and_restored(120, "clip")
    drift = before.to(torch.int16) - after
    assert drift.min() == 0
    assert 0 < drift.max() <= 15


def test_perturbation_is_uniform_and_sparse() -> None:
    weight = torch.nn.Parameter(torch.zeros(100_000, dtype=torch.int8), requires_grad=False)
    Int8Perturbation([("weight", weight)], 0, 7, "clip").add_(1, 0, p_zero=0.5)
    shares = [(weight == z).double().mean().item() for z in range(-7, 8)]
    expected = [0.5 / 15 + 0.5 * (z == 0) for z in range(-7, 8)]
    assert shares == pytest.approx(expected, abs=0.008)  # 5 standard errors of the largest


def test_backward_follows_autograd_where_nothing_is_rounded() -> None:
    """Small numbers need no shift, so integers and float64 compute the same errors and gradients."""
    model = Int8Sequential(Conv2d(1, 2, 3), ReLU(), MaxPool2x2(), Conv2d(2, 1, 3), ReLU())
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randint(-1, 2, parameter.shape, generator=generator, dtype=torch.int8)
    images = torch.randint(-1, 2, (2, 1, 4, 4), generator=generator, dtype=torch.int8)
    kept: list[torch.Tensor] = []
    output = model(images, kept)
    error = torch.randint(-1, 2, output.values.shape, generator=generator, dtype=torch.int8)

    first, second = (parameter.double().requires_grad_() for parameter in model.parameters())
    hidden = F.max_pool2d(F.conv2d(images.double(), first, padding=1).relu(), 2)
    F.conv2d(hidden, second, padding=1).relu().backward(error.double())

    layers: list[Any] = list(model)
    for position in (4, 3, 2, 1):
        if position == 3:
            assert torch.equal(layers[3].weight_gradient(kept[3], error).double(), second.grad)
        error = layers[position].backward(kept[position], error)
    assert torch.equal(layers[0].weight_gradient(kept[0], error).double(), first.grad)


def test_of_equal_maxima_only_the_first_receives_the_error() -> None:
    values, error = torch.zeros(1, 1, 2, 2, dtype=torch.int8), torch.full((1, 1, 1, 1), 5, dtype=torch.int8)
    assert MaxPool2x2().backward(values, error).flatten().tolist() == [5, 0, 0, 0]


def test_linear_layer_is_exact_until_it_must_round() -> None:
    layer = Linear(2, 1)
    layer.weight.data = torch.tensor([[100, 3]], dtype=torch.int8)
    layer.exponent.fill_(-6)
    inputs = torch.tensor([[1, 2], [100, 100]], dtype=torch.int8)
    product = layer(Number(inputs, torch.tensor(-5, dtype=torch.int32))).rounded()
    assert (product.values.tolist(), int(product.exponent)) == ([[1], [80]], -11 + 7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ElasticZOInt8(1, 0.5), "r_max=1 .* choose 2–126"),
        (lambda: ElasticZOInt8(15, 0.5, saturation="wrap"), "saturation='wrap' .* choose clip or headroom"),
        (lambda: ElasticZOInt8(15, 0.5, loss_sign="int"), "loss_sign='int' .* choose float or integer"),
        (lambda: ElasticZOInt8(15, 0.5, fraction_bits=7), "fraction_bits=7 .* choose 0–6"),
        (lambda: lenet5_int8(10, 0, "int4"), "backend='int4' .* choose auto, int8, float32, reference"),
        (lambda: IntegerBackward(lenet5_int8(10, 0), 6, 0), "bp_layers=6 .* choose 0–5"),
    ],
)
def test_impossible_values_name_the_rule_and_the_remedy(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
