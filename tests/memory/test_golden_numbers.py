"""ElasticZO's published memory figures for LeNet-5 (section 5.3, Fig. 4), which need no training."""

import pytest

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.table import LayerTable, layer_table
from tightfit.models.lenet5 import lenet5
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.sgd import SGD

MIB, KIB = 2**20, 2**10
FULL_ZO = MeZO(lr=1e-3, eps=1e-3)
FULL_BP = Backprop(0.1, SGD())


def elastic(bp_layers: int) -> ElasticZO:
    return ElasticZO(lr=1e-3, bp_lr=0.1, eps=1e-3, bp_layers=bp_layers)


@pytest.fixture(scope="module")
def table() -> LayerTable:
    return layer_table(lenet5(classes=10, seed=0), (1, 28, 28))


def test_lenet5_has_107786_parameters_and_18058_outputs_per_image(table: LayerTable) -> None:
    assert sum(row.parameters for row in table.rows) == 107_786
    assert sum(row.outputs for row in table.rows) == 18_058


def test_flatten_is_a_view_and_has_no_row(table: LayerTable) -> None:
    names = "conv1 relu1 pool1 conv2 relu2 pool2 fc1 relu3 fc2 relu4 fc3"
    assert [row.name for row in table.rows] == names.split()


@pytest.mark.parametrize(("batch_size", "zo", "bp"), [(32, 2.6, 5.2), (256, 18.0, 36.1)])
def test_full_zo_and_full_bp_need_the_published_mib(table: LayerTable, batch_size: int, zo: float, bp: float) -> None:
    assert round(FULL_ZO.memory(table, batch_size).total / MIB, 1) == zo
    assert round(FULL_BP.memory(table, batch_size).total / MIB, 1) == bp


@pytest.mark.parametrize("batch_size", [1, 32, 256])
def test_full_bp_needs_exactly_twice_what_inference_needs(table: LayerTable, batch_size: int) -> None:
    assert FULL_BP.memory(table, batch_size).total == 2 * FULL_ZO.memory(table, batch_size).total


@pytest.mark.parametrize(
    ("bp_layers", "batch_size", "percent", "digits", "kib"),
    [(1, 32, 0.17, 2, 4.6), (2, 32, 2.4, 1, 65.3), (1, 256, 0.072, 3, 13.3), (2, 256, 1.2, 1, 221.0)],
)
def test_elastic_zo_adds_the_published_overhead(
    table: LayerTable, bp_layers: int, batch_size: int, percent: float, digits: int, kib: float
) -> None:
    zo, hybrid = FULL_ZO.memory(table, batch_size), elastic(bp_layers).memory(table, batch_size)
    assert round((hybrid.total - zo.total) / KIB, 1) == kib
    assert round(100 * (hybrid.total / zo.total - 1), digits) == percent


def test_activations_are_42_9_times_the_parameters_at_batch_256(table: LayerTable) -> None:
    need = FULL_ZO.memory(table, 256)
    assert round(need.activations / need.parameters, 1) == 42.9


def test_zeroth_order_shares_are_the_published_89_8_and_99_2_percent(table: LayerTable) -> None:
    every = sum(row.parameters for row in table.rows)
    shares = [1 - sum(row.parameters for row in table.last(k)) / every for k in (2, 1)]
    assert [round(100 * share, 1) for share in shares] == [89.8, 99.2]


def test_adam_adds_two_moments_per_parameter(table: LayerTable) -> None:
    adam, sgd = Backprop(1e-3, Adam()).memory(table, 32), FULL_BP.memory(table, 32)
    assert adam.total - sgd.total == 2 * 107_786 * 4


def test_end_points_of_elastic_zo_are_full_zo_and_full_bp(table: LayerTable) -> None:
    assert elastic(0).memory(table, 32) == FULL_ZO.memory(table, 32)
    assert elastic(5).memory(table, 32) == FULL_BP.memory(table, 32)


@pytest.mark.parametrize("bp_layers", [-1, 6])
def test_impossible_split_names_the_value_the_rule_and_the_remedy(table: LayerTable, bp_layers: int) -> None:
    message = f"bp_layers={bp_layers} but LeNet5 has 5 layers with weights; choose 0–5"
    with pytest.raises(ValueError, match=message):
        elastic(bp_layers).memory(table, 32)


def test_breakdown_totals_its_parts() -> None:
    need = Breakdown(parameters=1, activations=2, gradients=4, errors=8, optimizer_state=16)
    assert need.total == 31
    assert need.as_dict()["total"] == 31
