"""ElasticZO-INT8's published memory figures for LeNet-5 (Fig. 5), which need no training."""

import pytest

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.integer import integer_memory
from tightfit.memory.table import LayerTable, layer_table
from tightfit.models.lenet5 import lenet5
from tightfit.models.lenet5_int8 import lenet5_int8
from tightfit.optimizers.elastic_zo_int8 import ElasticZOInt8
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.niti_bp import NITIBP

MIB = 2**20


@pytest.fixture(scope="module")
def table() -> LayerTable:
    return layer_table(lenet5_int8(classes=10, seed=0), (1, 28, 28))


def full_zo(table: LayerTable, batch_size: int) -> Breakdown:
    return ElasticZOInt8(r_max=15, p_zero=0.5).memory(table, batch_size)


def full_bp(table: LayerTable, batch_size: int) -> Breakdown:
    return NITIBP(bits=5).memory(table, batch_size)


def elastic(table: LayerTable, batch_size: int, bp_layers: int) -> Breakdown:
    return ElasticZOInt8(r_max=15, p_zero=0.5, bp_bits=5, bp_layers=bp_layers).memory(table, batch_size)


def test_lenet5_int8_has_107550_parameters_of_one_byte_and_no_bias(table: LayerTable) -> None:
    assert sum(row.parameters for row in table.rows) == 107_550
    assert {row.bytes_per_element for row in table.rows} == {1}
    assert full_zo(table, 32).parameters == 107_550


def test_only_products_are_staged_in_int32(table: LayerTable) -> None:
    assert [row.name for row in table.rows if row.accumulator_bytes == 4] == ["conv1", "conv2", "fc1", "fc2", "fc3"]


@pytest.mark.parametrize(("batch_size", "zo", "bp"), [(32, 1.64, 2.96), (256, 12.38, 19.41)])
def test_full_zo_and_full_bp_need_their_mib(table: LayerTable, batch_size: int, zo: float, bp: float) -> None:
    assert round(full_zo(table, batch_size).total / MIB, 2) == zo
    assert round(full_bp(table, batch_size).total / MIB, 2) == bp


@pytest.mark.parametrize(("batch_size", "ratio"), [(32, 1.8), (256, 1.6)])
def test_full_bp_needs_the_published_multiple_of_full_zo(table: LayerTable, batch_size: int, ratio: float) -> None:
    assert round(full_bp(table, batch_size).total / full_zo(table, batch_size).total, 1) == ratio


@pytest.mark.parametrize(
    ("bp_layers", "batch_size", "percent", "digits"),
    [(1, 32, 0.26, 2), (2, 32, 4.1, 1), (1, 256, 0.052, 3), (2, 256, 1.4, 1)],
)
def test_elastic_zo_int8_adds_the_published_overhead(
    table: LayerTable, bp_layers: int, batch_size: int, percent: float, digits: int
) -> None:
    hybrid, zo = elastic(table, batch_size, bp_layers), full_zo(table, batch_size)
    assert round(100 * (hybrid.total / zo.total - 1), digits) == percent


@pytest.mark.parametrize(("bp_layers", "percent"), [(1, 93.5), (2, 90.0)])
def test_activations_are_the_published_share_at_batch_32(table: LayerTable, bp_layers: int, percent: float) -> None:
    need = elastic(table, 32, bp_layers)
    # The paper's 90.0 is 90.01.
    assert round(100 * need.activations / need.total, 1) == percent


@pytest.mark.parametrize(("batch_size", "ratio"), [(32, 1.60), (256, 1.46)])
def test_int8_needs_the_published_fraction_of_fp32(table: LayerTable, batch_size: int, ratio: float) -> None:
    fp32 = MeZO(lr=1e-3, eps=1e-3).memory(layer_table(lenet5(classes=10, seed=0), (1, 28, 28)), batch_size)
    assert round(fp32.total / full_zo(table, batch_size).total, 2) == ratio


def test_end_points_of_elastic_zo_int8_are_full_zo_and_full_bp(table: LayerTable) -> None:
    assert elastic(table, 32, 0) == full_zo(table, 32)
    assert elastic(table, 32, 5) == full_bp(table, 32)


def test_impossible_split_names_the_value_the_rule_and_the_remedy(table: LayerTable) -> None:
    with pytest.raises(ValueError, match="bp_layers=6 but LeNet5Int8 has 5 layers with weights; choose 0–5"):
        integer_memory(table, 32, bp_layers=6)
