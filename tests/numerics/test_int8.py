from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.reference import integers as reference
from tightfit.numerics.int8 import arithmetic as int8
from tightfit.numerics.int8 import compiled_sweeps as int8_compiled
from tightfit.numerics.int8.arithmetic import (
    Accumulator,
    Number,
    bit_width,
    clipped_add_,
    nearest_shift_,
    pseudo_stochastic_shift,
    requantize,
    to_int8,
    update_of,
)
from tightfit.numerics.int8.perturbation import PIECE, Int8Perturbation, direction
from tightfit.numerics.maxima import max_of_slices
from tightfit.numerics.noise.counter_noise import keys_for, random_words

INT32 = st.one_of(
    st.integers(-(2**30), 2**30),
    st.integers(-300, 300),
    st.builds(
        lambda bits, sign, off: sign * (2**bits + off), st.integers(0, 29), st.sampled_from([-1, 1]), st.integers(-1, 1)
    ),
)
NUMBERS = st.lists(INT32, min_size=1, max_size=40)
INT8 = st.integers(-127, 127)


@pytest.fixture(autouse=True, scope="module", params=["compiled", "eager"])
def sweeps(request: pytest.FixtureRequest) -> Iterator[None]:
    """All that follows holds with numba and without."""
    assert int8.compiled is not None
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "eager":
            patch.setattr(int8, "compiled", None)
        yield


def tensor(numbers: list[int]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.int32)


@given(NUMBERS)
def test_bit_width_is_that_of_python_integers(numbers: list[int]) -> None:
    assert int(bit_width(tensor(numbers))) == reference.bit_width(numbers)


@pytest.mark.parametrize(("largest", "width"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (127, 7), (128, 7), (129, 8)])
def test_bit_width_of_powers_of_two_does_not_grow_before_they_are_passed(largest: int, width: int) -> None:
    assert int(bit_width(tensor([-largest, 0]))) == width


@given(NUMBERS, st.integers(0, 24))
def test_nearest_shift_rounds_like_python_integers(numbers: list[int], shift: int) -> None:
    rounded = nearest_shift_(tensor(numbers), torch.tensor(shift))
    assert rounded.tolist() == [reference.nearest_shift(n, shift) for n in numbers]


@given(NUMBERS, st.integers(0, 24))
def test_pseudo_stochastic_shift_rounds_like_python_integers(numbers: list[int], shift: int) -> None:
    rounded = pseudo_stochastic_shift(tensor(numbers), torch.tensor(shift))
    assert rounded.tolist() == [reference.pseudo_stochastic_shift(n, shift) for n in numbers]


@given(NUMBERS, st.integers(0, 24))
def test_both_roundings_treat_a_number_and_its_negative_alike(numbers: list[int], shift: int) -> None:
    for rounding in (nearest_shift_, pseudo_stochastic_shift):
        there, back = rounding(tensor(numbers), torch.tensor(shift)), rounding(-tensor(numbers), torch.tensor(shift))
        assert torch.equal(there, -back)


def test_ties_go_away_from_zero() -> None:
    assert nearest_shift_(tensor([2, 6, -2, -6, 1, -1]), torch.tensor(2)).tolist() == [1, 2, -1, -2, 0, 0]


@given(NUMBERS, st.integers(1, 6))
def test_update_is_that_of_python_integers(numbers: list[int], bits: int) -> None:
    assert update_of(tensor(numbers), bits).tolist() == reference.update_of(numbers, bits)


@given(NUMBERS, st.integers(1, 6))
def test_update_has_at_most_its_bits(numbers: list[int], bits: int) -> None:
    assert int(update_of(tensor(numbers), bits).abs().max()) <= 2**bits


def test_gradient_of_ones_and_zeros_gives_no_update() -> None:
    assert update_of(tensor([1, 0, -1]), 5).tolist() == [0, 0, 0]


@given(st.lists(st.tuples(INT8, INT8), min_size=1, max_size=40), st.integers(-2, 2), st.integers(1, 127))
def test_clipped_add_stops_at_the_limit(pairs: list[tuple[int, int]], scale: int, limit: int) -> None:
    weights, change = (torch.tensor(column, dtype=torch.int8) for column in zip(*pairs, strict=True))
    clipped_add_(weights, change, scale, limit)
    assert weights.tolist() == [reference.clip(w + scale * c, limit) for w, c in pairs]


@given(NUMBERS, st.integers(-20, 20))
def test_requantized_number_is_within_half_a_step_of_the_accumulator(numbers: list[int], exponent: int) -> None:
    number = requantize(tensor(numbers), torch.tensor(exponent, dtype=torch.int32)).rounded()
    step = 2 ** (int(number.exponent) - exponent)
    for accumulator, value in zip(numbers, number.values.tolist(), strict=True):
        # One step where 128, the image of an exact power of two, is clipped to 127.
        assert abs(accumulator - value * step) <= (step if abs(value) == 127 else step / 2)


@given(st.lists(INT32, min_size=4, max_size=32).map(lambda numbers: numbers[: len(numbers) // 4 * 4]))
def test_relu_and_maxima_may_be_taken_before_rounding(numbers: list[int]) -> None:
    """What ReLU and pooling rely on to leave less to be rounded."""

    def accumulator() -> Accumulator:
        return requantize(tensor(numbers), torch.tensor(0, dtype=torch.int32))

    before, after = accumulator().relu(), accumulator().rounded().relu()
    assert torch.equal(
        before._replace(values=before.values.view(-1, 4).amax(1)).rounded().values, after.values.view(-1, 4).amax(1)
    )
    assert before.exponent == after.exponent


SHAPES = [
    (2, 3, 4, 6),
    (2, 3, 5, 7),
    (2, 3, 4, 7),
    (1, 1, 2, 2),
    (3, 6, 28, 28),
    (2, 17, 14, 9),
    (2, 65, 3, 2),
    (2, 3, 1, 1),
]
ORDERS = {"plain": (0, 1, 2, 3), "as a convolution leaves it": (0, 3, 1, 2), "another": (0, 2, 1, 3)}


def accumulators(shape: tuple[int, ...], order: str, dtype: torch.dtype) -> torch.Tensor:
    """Whole numbers in an order of memory."""
    drawn = torch.randint(-50_000, 50_001, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    to_view = ORDERS[order]
    return drawn.permute([to_view.index(place) for place in range(4)]).contiguous().permute(to_view)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [torch.int32, torch.float32])
def test_order_and_type_of_accumulators_change_no_number(
    shape: tuple[int, ...], order: str, dtype: torch.dtype
) -> None:
    """Rounded, or rounded while their maxima are taken."""
    here, plain = accumulators(shape, order, dtype), accumulators(shape, "plain", torch.int32)
    assert torch.equal(here, plain.to(dtype))
    exponent = torch.tensor(-3, dtype=torch.int32)
    expected = reference.requantized(plain.flatten().tolist(), -3)
    number = requantize(here.clone(), exponent).rounded()
    assert (number.values.flatten().tolist(), int(number.exponent)) == expected
    pooled = requantize(here.clone(), exponent).relu().pooled()
    assert torch.equal(pooled.values, max_of_slices(number.relu().values))
    assert pooled.exponent == number.exponent


KEYS = keys_for("w", 0, "int8")


@pytest.mark.parametrize("r_max", [2, 15, 126])
def test_direction_is_that_of_python_integers(r_max: int) -> None:
    drawn = direction(torch.empty(7, 143, dtype=torch.int8), r_max, 0.4, KEYS.of(3))
    words, key = random_words(torch.arange(501), KEYS.of(3)).tolist(), 2**64
    fields = [(word % key >> 32 * half) % 2**32 for word in words for half in range(2)]
    assert drawn.flatten().tolist() == [
        reference.direction(field, r_max, round(0.4 * 2**16)) for field in fields[:1001]
    ]


@pytest.mark.parametrize("r_max", [2, 15, 126])
@pytest.mark.parametrize("size", [1, 3, 1001, 2 * PIECE + 5])
def test_weights_move_compiled_as_by_eager_operators(r_max: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the way out, back, and by the update; with weights so full that they are clipped at each."""
    ends = []
    for sweeps in (int8_compiled, None):
        monkeypatch.setattr(int8, "compiled", sweeps)
        weights = torch.randint(-127, 128, (size,), generator=torch.Generator().manual_seed(0), dtype=torch.int8)
        perturbation = Int8Perturbation([("w", nn.Parameter(weights, requires_grad=False))], 0, r_max, "headroom")
        perturbation.add_(1, step=3, p_zero=0.4)
        perturbation.add_(-2, step=3, p_zero=0.4)
        out = weights.clone()
        perturbation.restore_and_update_(1, 1, step=3, p_zero=0.4)
        ends.append((out, weights))
    assert torch.equal(ends[0][0], ends[1][0])
    assert torch.equal(ends[0][1], ends[1][1])
    assert not torch.equal(*ends[0]) or size < 1001


def test_nothing_is_updated_along_a_direction_of_zeros_and_ones() -> None:
    """NITI's range estimate calls a magnitude of 1 no bits; r_max is 2 at least, but few numbers may all be small."""
    weights = torch.zeros(1, dtype=torch.int8)
    perturbation = Int8Perturbation([("w", nn.Parameter(weights, requires_grad=False))], 0, 2, "clip")
    moved = set()
    for step in range(40):
        perturbation.add_(-1, step, p_zero=0.0)
        z = -int(weights)
        perturbation.restore_and_update_(1, 1, step, p_zero=0.0)
        moved.add((z, int(weights)))
        weights.zero_()
    assert moved == {(-2, 2), (-1, 0), (0, 0), (1, 0), (2, -2)}


@given(st.lists(INT8, min_size=1, max_size=40), st.integers(0, 7))
def test_int8_rounds_pseudo_stochastically_as_int32_does(numbers: list[int], shift: int) -> None:
    narrow, wide = (
        pseudo_stochastic_shift(torch.tensor(numbers, dtype=kind), torch.tensor(shift, dtype=torch.int32))
        for kind in (torch.int8, torch.int32)
    )
    assert narrow.dtype == torch.int8
    assert narrow.tolist() == wide.tolist()


def test_clipping_to_int8_never_gives_minus_128() -> None:
    assert to_int8(tensor([-1000, -128, -127, 0, 128])).tolist() == [-127, -127, -127, 0, 127]


def test_number_as_floats_is_its_value() -> None:
    number = Number(torch.tensor([-127, 3], dtype=torch.int8), torch.tensor(-2, dtype=torch.int32))
    assert number.float().tolist() == [-31.75, 0.75]
