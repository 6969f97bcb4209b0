"""A tensor train is the matrix that its cores contract to, in a hundredth of the numbers; where bottlenecks belong."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from tests.optimizers.axes import tiny_llama
from tightfit.memory.assumptions import Assumptions
from tightfit.memory.table import layer_table
from tightfit.models.adapters.tt import TensorTrains, TTAdapted, TTLinear, core_shapes, factors_of
from tightfit.models.lenet5 import lenet5
from tightfit.plan.composed import method_of, read_yaml
from tightfit.plan.models import described, subject_of
from tightfit.records.places import CONF


def matrix_number_by_number(train: TTLinear, cores: int) -> torch.Tensor:
    """(in, out): each number the product of the slices that its place in every factor picks."""
    tensors = [getattr(train, f"core_{place}") for place in range(cores)]
    factors = [core.shape[1] for core in tensors]
    numbers = []
    for place in range(math.prod(factors)):
        product = torch.ones(1, 1)
        for index, core in zip(torch.unravel_index(torch.tensor(place), factors), tensors, strict=True):
            product = product @ core[:, index]
        numbers.append(product)
    return torch.stack(numbers).flatten()


@pytest.mark.parametrize(("inputs", "outputs", "modes"), [(12, 8, 2), (7, 12, 3), (4, 4, 1)])
def test_a_train_is_the_matrix_that_its_cores_contract_to(inputs: int, outputs: int, modes: int) -> None:
    train = TTLinear(inputs, outputs, rank=3, modes=modes, seed=0, name="any", activation_bytes=4)
    nn.init.normal_(train.bias)
    matrix = matrix_number_by_number(train, 2 * modes).view(inputs, outputs)
    given = torch.randn(5, inputs)
    torch.testing.assert_close(train(given), given @ matrix + train.bias)


@pytest.mark.parametrize(("number", "factors"), [(4096, (16, 16, 16)), (64, (4, 4, 4)), (7, (7, 1, 1)), (1, (1, 1, 1))])
def test_widths_are_taken_to_even_factors(number: int, factors: tuple[int, ...]) -> None:
    assert factors_of(number, 3) == factors
    assert math.prod(factors_of(192, 3)) == 192


def test_a_square_of_192_takes_700_numbers() -> None:
    assert sum(map(math.prod, core_shapes(192, 192, rank=5, modes=3))) == 700


def test_a_gaussian_start_has_the_published_variance_and_one_at_the_base_none() -> None:
    """Each core has variance (1/√(in + out))^(1/modes) / its rank: a number of M, of as many sums, 1 / (in + out)."""
    drawn = [TTLinear(64, 64, 5, 3, seed, "any", 4) for seed in range(40)]
    numbers = torch.stack([torch.matmul(*train.factors()) for train in drawn])
    assert numbers.square().mean().item() == pytest.approx(1 / 128, rel=0.5)  # few cores make heavy tails
    model, plain = lenet5(10, 0), lenet5(10, 0)
    TensorTrains(start="gaussian").inject(model, 0)
    images = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(model(images), plain(images), atol=1e-3)


def test_bottlenecks_stand_behind_the_ends_of_sublayers_and_norms_are_trained() -> None:
    model = tiny_llama()
    trained = TensorTrains(2, 4, 2).inject(model, 0)
    behind = {name for name, module in model.named_modules() if isinstance(module, TTAdapted)}
    assert {name.rpartition(".")[2] for name in behind} == {"o_proj", "down_proj"}
    assert len(behind) == 4
    norms = [name for name in trained if "norm" in name]
    assert len(norms) == 5
    assert len(trained) == 5 + 4 * 2 * (4 + 1)  # cores and a bias
    assert all(".down." in name or ".up." in name for name in trained if name not in norms)
    without = tiny_llama()
    assert set(trained) - set(TensorTrains(2, 4, 2, norms=False).inject(without, 0)) == set(norms)


def test_rows_of_a_bottleneck_count_its_numbers_and_what_it_makes() -> None:
    model = nn.Sequential(nn.Linear(8, 12))
    before = layer_table(model, (8,)).rows
    TensorTrains(3, 6, 2).inject(model, 0)
    base, down, bend, up = layer_table(model, (8,)).rows
    assert (base.trained_elements, base.outputs) == (0, before[0].outputs)
    assert (down.outputs, bend.outputs, up.outputs) == (3 + 6, 6, 3 + 12)
    held = sum(parameter.numel() for name, parameter in model.named_parameters() if "base" not in name)
    assert down.trained_elements + up.trained_elements == held
    assert (down.operations, up.operations) == (2 * 3 * 18, 2 * 3 * 18)


def test_a_plan_counts_the_bottlenecks_of_a_transformer() -> None:
    words = ["optimizer=adazeta", "model=smollm2_135m", "dataset=sst2"]
    assumptions = Assumptions(**read_yaml(CONF / "plan" / "assumptions.yaml"))
    subject = subject_of(described("smollm2_135m"), method_of(words), {}, assumptions)
    rows = subject.table(64).rows
    cores = sum(math.prod(core) for ends in ((576, 64), (64, 576)) for core in core_shapes(*ends, 5, 3))
    norms = [row for row in rows if row.kind == "Norm"]
    assert sum(row.trained_elements for row in rows) == 60 * (cores + 576 + 64) + sum(row.parameters for row in norms)
    assert subject.memory(64, 8).gradients == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rank": 0}, "adapter.rank=0 but an update has a rank of at least 1; choose 1 or more"),
        ({"width": 0}, "adapter.width=0 but a train has at least one core; choose 1 or more"),
        ({"modes": 0}, "adapter.modes=0 but a train has at least one core; choose 1 or more"),
        ({"start": "zero"}, "adapter.start='zero' is no beginning; choose base or gaussian"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TensorTrains(**wrong)
