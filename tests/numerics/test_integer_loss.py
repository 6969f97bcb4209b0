from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.reference import integers as reference
from tightfit.numerics.int8 import arithmetic, compiled_sweeps
from tightfit.numerics.int8.arithmetic import Number
from tightfit.numerics.int8.loss import logits_gradient, loss_difference, mean_loss, stochastic_shift


@pytest.fixture(autouse=True, scope="module", params=["compiled", "eager"])
def sweeps(request: pytest.FixtureRequest) -> Iterator[None]:
    """All that follows holds with numba and without."""
    assert arithmetic.compiled is not None
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "eager":
            patch.setattr(arithmetic, "compiled", None)
        yield


LOGITS = st.lists(st.integers(-127, 127), min_size=4, max_size=4)
BATCH = st.lists(st.tuples(LOGITS, LOGITS, st.integers(0, 3)), min_size=1, max_size=5)
KEY = 123, 456  # any, of random words
EXPONENTS = st.integers(-14, 2)


def number(values: list[list[int]], exponent: int) -> Number:
    return Number(torch.tensor(values, dtype=torch.int8), torch.tensor(exponent, dtype=torch.int32))


def random_logits(seed: int, exponent: int, examples: int) -> tuple[Number, Number, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    plus, minus = torch.randint(-127, 128, (2, examples, 10), generator=generator)
    return (
        number(plus.tolist(), exponent),
        number(minus.tolist(), exponent),
        torch.randint(0, 10, (examples,), generator=generator),
    )


def exact_losses(logits: Number, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits.values.double() * 2.0 ** int(logits.exponent), labels, reduction="none")


@given(BATCH, EXPONENTS, EXPONENTS, st.sampled_from([0, 1, 3]))
def test_difference_is_that_of_python_integers(
    batch: list[tuple[list[int], list[int], int]], plus_exponent: int, minus_exponent: int, bits: int
) -> None:
    plus, minus, labels = (list(column) for column in zip(*batch, strict=True))
    expected = reference.loss_difference(plus, plus_exponent, minus, minus_exponent, labels, bits)
    found = loss_difference(number(plus, plus_exponent), number(minus, minus_exponent), torch.tensor(labels), bits)
    assert found == expected


@given(BATCH, EXPONENTS, st.integers(0, 6))
def test_difference_changes_its_sign_with_its_order_and_vanishes_between_equals(
    batch: list[tuple[list[int], list[int], int]], exponent: int, bits: int
) -> None:
    plus, minus, labels = (list(column) for column in zip(*batch, strict=True))
    a, b, y = number(plus, exponent), number(minus, exponent), torch.tensor(labels)
    assert loss_difference(a, b, y, bits) == -loss_difference(b, a, y, bits)
    assert loss_difference(a, a, y, bits) == 0


# Each power of two is rounded down to a step of its exponent and each logarithm to another, so one example's
# difference is wrong by less than two steps; its sign is right whenever the losses differ by more than that, or
# is 0. Differences beyond the window of 10 bits keep their sign too.
@pytest.mark.parametrize("bits", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("exponent", [-6, -5, -4, -3])
def test_sign_of_one_example_agrees_with_float64_beyond_two_steps(bits: int, exponent: int) -> None:
    plus, minus, labels = random_logits(bits, exponent, 400)
    exact = exact_losses(plus, labels) - exact_losses(minus, labels)
    for index in torch.nonzero(exact.abs() / torch.log(torch.tensor(2.0)) > 2.5 * 2.0**-bits).flatten().tolist():
        one = slice(index, index + 1)
        a, b = (Number(logits.values[one], logits.exponent) for logits in (plus, minus))
        assert loss_difference(a, b, labels[one], bits) * exact[index] >= 0


def test_more_fraction_bits_agree_with_float64_more_often_on_batches() -> None:
    agreement = {}
    for bits in (0, 4):
        agreed = 0
        for seed in range(100):
            plus, minus, labels = random_logits(seed, -5, 256)
            exact = (exact_losses(plus, labels) - exact_losses(minus, labels)).sum()
            agreed += loss_difference(plus, minus, labels, bits) * exact > 0
        agreement[bits] = agreed / 100
    assert agreement[4] > agreement[0]
    assert agreement[4] >= 0.98


@given(BATCH, st.integers(-10, 0))
def test_mean_loss_is_that_of_float64_within_its_steps(
    batch: list[tuple[list[int], list[int], int]], exponent: int
) -> None:
    plus, minus, labels = (list(column) for column in zip(*batch, strict=True))
    a, b, y = number(plus, exponent), number(minus, exponent - 1), torch.tensor(labels)
    exact = torch.cat([exact_losses(logits, y) for logits in (a, b)]).mean().item()
    # Two steps of 2**−4 bits, and log2 e is 47274 / 2**15 only to one part in 10**5.
    assert mean_loss(a, b, y) == pytest.approx(exact, abs=2 / 16, rel=1e-4)


@pytest.mark.parametrize("exponents", [(-5, -5), (-12, -4), (1, -3), (30, -40)])
@pytest.mark.parametrize("bits", range(7))
def test_compiled_sums_are_those_of_operators(exponents: tuple[int, int], bits: int) -> None:
    """The loss for the record included, which no reference has bit for bit."""
    plus, minus, labels = random_logits(bits, exponents[0], 50)
    minus = Number(minus.values, torch.tensor(exponents[1], dtype=torch.int32))
    found = []
    for compiled in (compiled_sweeps, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(arithmetic, "compiled", compiled)
            found.append(
                (
                    loss_difference(plus, minus, labels, bits),
                    mean_loss(plus, minus, labels, bits),
                    mean_loss(minus, plus, labels),
                )
            )
    assert found[0] == found[1]


@given(LOGITS, st.integers(-14, 4), st.integers(0, 3))
@settings(max_examples=60)
def test_gradient_is_that_of_python_integers_rounded_to_a_neighbour(
    logits: list[int], exponent: int, label: int
) -> None:
    error = reference.logits_error(logits, exponent, label)
    found = logits_gradient(number([logits], exponent), torch.tensor([label]), KEY)
    for whole, rounded in zip(error, found[0].tolist(), strict=True):
        assert abs(whole / 16 - rounded) < 1 or (abs(whole) > 127 * 16 and abs(rounded) == 127)


def test_gradient_is_softmax_less_one_hot_on_average() -> None:
    logits, _, labels = random_logits(0, -5, 2000)
    found = logits_gradient(logits, labels, KEY).double() / 128
    exact = torch.softmax(logits.values.double() / 32, dim=1) - F.one_hot(labels, 10)
    # The exponents are rounded down to whole powers of two: a term is wrong by up to a factor of two.
    assert (found - exact).mean(dim=0).abs().max() < 0.03


def test_stochastic_shift_is_unbiased() -> None:
    numbers = torch.full((20000,), -37)
    rounded = stochastic_shift(numbers, 4, KEY)
    assert rounded.unique().tolist() == [-3, -2]
    assert rounded.double().mean().item() == pytest.approx(-37 / 16, abs=0.02)  # 5 standard errors
