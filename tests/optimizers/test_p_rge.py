"""What batching of directions promises: whatever is batched, the same training."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.synthetic import adapted
from tightfit.memory.table import layer_table
from tightfit.models.adapters.mp_lora import MPLoRA, MPLoRALinear
from tightfit.models.lenet5 import lenet5
from tightfit.optimizers.base import Batch, Learner
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.p_rge import PARALLEL, PRGE
from tightfit.run.evaluate import cross_entropy

DOUBLE = Independent("torch_gaussian")  # numbers for weights of float64


def adapted_model() -> nn.Sequential:
    """With adapters that begin at zero."""
    return adapted(model(), MPLoRA(2, 4), seed=3)


def model() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).double()


def batch(step: int) -> Batch:
    inputs = torch.randn(8, 6, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
    return Batch(inputs, inputs[:, :3].argmax(dim=1), step, epoch=0.0)


def trained(learner: Learner, steps: int = 5) -> tuple[list[float], torch.Tensor]:
    slopes = [learner.step(batch(step)).scalars["slope"] for step in range(steps)]
    return slopes, torch.cat([p.flatten() for name, p in learner.resting_model().named_parameters() if "B" in name])


@pytest.mark.parametrize("queries", [1, 3])
def test_every_way_to_batch_trains_the_same_adapters(queries: int) -> None:
    ends = {}
    for parallel in PARALLEL:
        optimizer = PRGE(0.1, 1e-2, queries=queries, parallel=parallel, direction=DOUBLE)
        ends[parallel] = trained(optimizer.bind(adapted_model(), cross_entropy, seed=3))
    for slopes, weights in ends.values():
        assert slopes == pytest.approx(ends["none"][0], rel=1e-8)
        assert torch.allclose(weights, ends["none"][1], rtol=1e-9, atol=1e-12)
    assert ends["none"][1].abs().min() > 0


def test_it_is_mezo_of_several_queries_on_the_same_adapters() -> None:
    one_by_one = MeZO(0.1, 1e-2, queries=3, direction=DOUBLE).bind(adapted_model(), cross_entropy, seed=3)
    at_once = PRGE(0.1, 1e-2, queries=3, parallel="both", direction=DOUBLE).bind(adapted_model(), cross_entropy, seed=3)
    for (slopes, weights), (other_slopes, other) in [(trained(one_by_one), trained(at_once))]:
        assert slopes == pytest.approx(other_slopes, rel=1e-8)
        assert torch.allclose(weights, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("noise", ["rademacher", "gaussian_fast"])
def test_directions_of_counters_are_those_of_mezo_too(noise: Any) -> None:
    methods = [method(0.1, 1e-2, queries=2, direction=Independent(noise)) for method in (MeZO, PRGE)]
    one_by_one, at_once = (method.bind(adapted_model().float(), cross_entropy, seed=3) for method in methods)
    single = Batch(batch(0).inputs.float(), batch(0).labels, step=0, epoch=0.0)
    slopes = [learner.step(single).scalars["slope"] for learner in (one_by_one, at_once)]
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-3)  # of losses in float32, apart by 2 eps


def test_the_minus_is_the_mirror_image_of_the_plus() -> None:
    """So that what is probed, half their difference, is what the update adds, in every way to batch."""
    seen: dict[str, list[torch.Tensor]] = {}
    for parallel in PARALLEL:
        learner: Any = PRGE(0.1, 1e-2, queries=2, parallel=parallel, direction=DOUBLE).bind(
            adapted_model(), cross_entropy, seed=3
        )
        layer = learner.resting_model()[0]
        met: list[torch.Tensor] = []
        layer.register_forward_pre_hook(lambda layer, _, met=met: met.append(layer.copies.clone()))
        learner.step(batch(0))
        probes = [probe for probes in learner._optimizer.passes() for probe in probes]
        copies = dict(zip(probes, torch.cat(met), strict=True))
        seen[parallel] = [copies[query, sign] for query in range(2) for sign in (1, -1)]
    for copies in seen.values():
        for copy, expected in zip(copies, seen["none"], strict=True):
            assert torch.equal(copy, expected)
        assert torch.equal(copies[0], -copies[1])  # B is zero
        assert not torch.equal(copies[0], copies[2])


def test_a_base_in_16_bits_keeps_its_adapters_in_32() -> None:
    """A step far below bfloat16's spacing at the size of B still moves it."""
    base: Any = adapted(model().bfloat16(), MPLoRA(2))
    learner: Any = PRGE(1e-6, 1e-2, queries=2).bind(base, cross_entropy, seed=0)
    layer = learner.resting_model()[0]
    layer.B.fill_(0.5)
    learner.step(Batch(batch(0).inputs.bfloat16(), batch(0).labels, step=0, epoch=0.0))
    assert layer.B.dtype == torch.float32
    assert 0 < (layer.B - 0.5).abs().max() < 2**-10
    assert layer(batch(0).inputs.bfloat16()).dtype == torch.bfloat16


def test_an_adapted_model_begins_as_the_model_it_adapts() -> None:
    assert torch.equal(adapted_model()(batch(0).inputs), model()(batch(0).inputs))


def test_each_group_of_examples_meets_its_own_copy() -> None:
    layer = MPLoRALinear(nn.Linear(5, 7), rank=2, alpha=6, seed=0, name="layer")
    inputs, copies = torch.randn(3 * 4, 9, 5), torch.randn(3, 7, 2)
    layer.copies = copies
    together = layer(inputs)
    for copy, examples, outputs in zip(copies, inputs.chunk(3), together.chunk(3), strict=True):
        expected = layer.base(examples) + 3 * examples @ layer.A.T @ copy.T
        assert torch.allclose(outputs, expected, atol=1e-5)


def test_base_weights_stay_and_no_copy_outlives_its_step() -> None:
    before, learner = model(), PRGE(0.1, 1e-2, direction=DOUBLE).bind(adapted_model(), cross_entropy, seed=0)
    learner.step(batch(0))
    after: Any = learner.resting_model()
    assert torch.equal(after[0].base.weight, before[0].weight)
    assert after[0].copies is None
    assert after[0].B.abs().max() > 0


def test_targets_choose_layers_by_name() -> None:
    assert MPLoRA(2, 4, "fc[12]").inject(lenet5(10, seed=0), seed=0) == ["fc1.B", "fc2.B"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PRGE(0.1, 1e-2, queries=0), r"queries=0 but a step needs at least one direction; choose 1 or more"),
        (lambda: MPLoRA(rank=0), r"adapter.rank=0 but an update has a rank of at least 1"),
        (
            lambda: PRGE(0.1, 1e-2, parallel="all"),
            r"parallel='all' is no way to batch; choose none, outer, inner, both",
        ),
        (
            lambda: PRGE(0.1, 1e-2, direction=Independent("pink")),
            r"noise='pink' is not a stream; choose gaussian, rademacher, gaussian_fast, torch_gaussian",
        ),  # ty: ignore
        (lambda: adapted(model(), MPLoRA(2, 4, "proj")), r"has none called 'proj', only 0, 2; choose another model"),
        (lambda: adapted(nn.ReLU(), MPLoRA()), r"belong to linear layers, but this model has none"),
        (lambda: PRGE(0.1, 1e-2).bind(model(), cross_entropy, 0), r"this model has none; choose adapter=mp_lora"),
        (lambda: PRGE(0.1, 1e-2).memory(layer_table(model().float(), (6,)), 1), r"none; choose adapter=mp_lora"),
    ],
)
def test_impossible_values_name_the_rule_and_the_remedy(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_memory_counts_adapters_and_a_batch_for_every_copy() -> None:
    table = layer_table(adapted(model().float(), MPLoRA(2)), (6,))
    optimizer = PRGE(0.1, 1e-2, queries=2, parallel="both")
    weights = 4 * (6 * 16 + 16 + 16 * 3 + 3)
    adapters = 4 * 2 * (6 + 5 * 16 + 16 + 5 * 3)  # A; B and four copies of it
    outputs = 4 * (16 + 16 + 3 + 2 + 2)
    breakdown = optimizer.memory(table, batch_size=8)
    assert (breakdown.parameters, breakdown.activations) == (weights + adapters, 4 * 8 * outputs)
