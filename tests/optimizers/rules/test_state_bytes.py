"""What each rule keeps of LeNet-5 and of SmolLM2, in bytes that are known before anything is allocated."""

import pytest

from tightfit.memory.assumptions import Assumptions
from tightfit.memory.table import LayerTable, layer_table
from tightfit.memory.transformer import Transformer, transformer_table
from tightfit.models.lenet5 import lenet5
from tightfit.optimizers.rules.adafactor import Adafactor
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.adam_8bit import Adam8bit
from tightfit.optimizers.rules.foam import FOAM
from tightfit.optimizers.rules.mofasgd import MoFaSGD
from tightfit.optimizers.rules.muon import Muon
from tightfit.optimizers.rules.rule import Rule
from tightfit.optimizers.rules.sgc import SGC
from tightfit.optimizers.rules.solo import SOLO

LENET5 = layer_table(lenet5(10, 0), (1, 28, 28))
SMOLLM2 = transformer_table(
    Transformer("smollm2_135m", "llama", 30, 576, 9, 1536, 49152, key_value_heads=3, tied_head=True),
    16,
    Assumptions(rho=1, activation_bytes=4),
)
NUMBERS, EMBEDDING, NORMS, BLOCKS = 134_515_008, 49152 * 576, 61 * 576, 30  # of SmolLM2
OF_BLOCK = ((576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536))


def kept(rule: Rule, table: LayerTable) -> int:
    return sum(rule.state_bytes(row) for row in table.rows)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Adam(), 862_288),
        (FOAM(level=0), 862_288),
        (FOAM(level=1), 434_128),
        (FOAM(level=2), 220_048),
        (FOAM(level=3), 111_008),
        (FOAM(level=8), 10_560),
        (MoFaSGD(rank=2), 13_120),
        (MoFaSGD(rank=8), 46_560),
        (MoFaSGD(rank=32), 159_224),
        # 150 numbers of conv1 are 37.5 bytes in 2 bits, and bytes are whole: half a byte more than the equation.
        (SOLO(4, 2), 92_678.5 + 0.5),
        (SOLO(2, 2), 65_791 + 2 * 0.5),
        (SGC(512, 128, 16), 8 * 128 * (184 + 20 + 5 + 2) + 8 * (150 + 236)),
        (SGC(512, 128, 16, "scalar"), 4 * 129 * (184 + 20 + 5 + 2) + 8 * (150 + 236)),
        (Muon(), 4 * 107_550 + 8 * 236),
        (Adafactor(), 4 * (2 * 6 * 5 + 2 * 96 * 5 + 784 + 120 + 120 + 84 + 84 + 10 + 236)),
        (Adam8bit(), 862_288),  # in whole blocks of 256 there is no tensor
        (Adam8bit(block=32), 2 * 104_160 + 8 * 104_160 // 32 + 8 * (107_786 - 104_160)),
    ],
)
def test_lenet5(rule: Rule, expected: float) -> None:
    assert kept(rule, LENET5) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Adam(), 1_076_120_064),
        (FOAM(level=2), 439_110_144),
        (FOAM(level=8), 230_920_704),
        (MoFaSGD(rank=8), 236_549_184),
        (SOLO(4, 2), 113_498_136),
        (SGC(512, 128, 16), 8 * NUMBERS // 4 + 61 * 8 * (2 * 128 - 144)),  # a norm fills a chunk and an eighth: two
        (Muon(), 4 * NUMBERS + 4 * (EMBEDDING + NORMS)),
        (Adafactor(), 4 * (49152 + 576 + NORMS + BLOCKS * sum(m + n for m, n in OF_BLOCK))),
        (Adam8bit(), 2 * (NUMBERS - NORMS) * (1 + 4 / 256) + 8 * NORMS),
    ],
)
def test_smollm2(rule: Rule, expected: float) -> None:
    assert sum(row.trained_elements for row in SMOLLM2.rows) == NUMBERS
    assert kept(rule, SMOLLM2) == expected


def test_solo_holds_less_than_seven_bits_of_each_number_of_lenet5() -> None:
    assert 6.8 < 8 * kept(SOLO(), LENET5) / 107_786 < 6.9
