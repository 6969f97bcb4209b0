"""ElasticZO's published memory figures for PointNet (section 5.3, Fig. 6): batch 32, 1,024 points, 40 classes."""

import pytest

from tightfit.memory.table import LayerTable, layer_table
from tightfit.models.lenet5 import lenet5
from tightfit.models.pointnet import pointnet
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.rules.sgd import SGD

CLS2, CLS1 = 1, 2  # layers by backpropagation
PUBLISHED = pytest.mark.parametrize(
    ("bp_layers", "zo_percent", "overhead", "digits", "activation_percent"),
    [(CLS2, 98.7, 0.0087, 4, 99.4), (CLS1, 82.7, 0.12, 2, 99.3)],
    ids=["cls2", "cls1"],
)
FULL_ZO, FULL_BP = MeZO(lr=1e-3, eps=1e-3), Backprop(0.1, SGD())


def elastic(bp_layers: int) -> ElasticZO:
    return ElasticZO(lr=1e-3, bp_lr=0.1, eps=1e-3, bp_layers=bp_layers)


def parameters(table: LayerTable) -> int:
    return sum(row.parameters for row in table.rows)


@pytest.fixture(scope="module")
def table() -> LayerTable:
    return layer_table(pointnet(classes=40, seed=0), (1024, 3))


def test_pointnet_has_818088_parameters_7_6_times_those_of_lenet5(table: LayerTable) -> None:
    assert parameters(table) == 818_088
    assert round(parameters(table) / parameters(layer_table(lenet5(10, 0), (1, 28, 28))), 1) == 7.6


def test_each_feature_layer_holds_three_buffers_and_the_maximum_one(table: LayerTable) -> None:
    channels = 64 + 64 + 64 + 128 + 1024
    assert sum(row.outputs for row in table.rows) == 3 * channels * 1024 + 1024 + 2 * 512 + 2 * 256 + 40


@PUBLISHED
def test_share_of_zeroth_order_parameters_is_the_published_one(
    table: LayerTable, bp_layers: int, zo_percent: float, overhead: float, digits: int, activation_percent: float
) -> None:
    share = 1 - sum(row.parameters for row in table.last(bp_layers)) / parameters(table)
    assert round(100 * share, 1) == zo_percent


@PUBLISHED
def test_elastic_zo_adds_the_published_overhead(
    table: LayerTable, bp_layers: int, zo_percent: float, overhead: float, digits: int, activation_percent: float
) -> None:
    need = elastic(bp_layers).memory(table, 32)
    assert round(100 * (need.total / FULL_ZO.memory(table, 32).total - 1), digits) == overhead


@PUBLISHED
def test_activations_take_the_published_share(
    table: LayerTable, bp_layers: int, zo_percent: float, overhead: float, digits: int, activation_percent: float
) -> None:
    need = elastic(bp_layers).memory(table, 32)
    assert round(100 * need.activations / need.total, 1) == activation_percent


def test_last_two_layers_with_weights_are_the_classifier_and_normalisation_is_among_the_first(
    table: LayerTable,
) -> None:
    assert [row.name for row in table.last(CLS1)] == ["fc2", "fc_relu2", "fc3"]
    assert {row.name for row in table.rows if row.kind == "PointNorm"} <= {row.name for row in table.rows[:15]}
    assert table.weight_layers == 8  # five with their norms, three of the head


def test_end_points_of_elastic_zo_are_full_zo_and_full_bp(table: LayerTable) -> None:
    assert elastic(0).memory(table, 32) == FULL_ZO.memory(table, 32)
    assert elastic(table.weight_layers).memory(table, 32) == FULL_BP.memory(table, 32)
    assert FULL_BP.memory(table, 32).total == 2 * FULL_ZO.memory(table, 32).total
