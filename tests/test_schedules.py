import math
from typing import Any

import pytest

from tightfit.optimizers.schedules import Piecewise, StepDecay, check_positive, check_rate, value_at


def test_step_decay_multiplies_once_every_period() -> None:
    decay = StepDecay(initial=1.0, factor=0.8, every_epochs=10)
    assert [decay(epoch) for epoch in (0, 9.99, 10, 25, 99)] == pytest.approx([1, 1, 0.8, 0.64, 0.8**9])


def test_piecewise_holds_each_value_from_its_start() -> None:
    bits = Piecewise(values=(5, 4, 3), starts=(0, 20, 50))
    assert [bits(epoch) for epoch in (0, 19.9, 20, 49, 50, 100)] == [5, 5, 4, 4, 3, 3]


@pytest.mark.parametrize(("values", "starts"), [((1, 2), (0,)), ((1, 2), (5, 10)), ((1, 2, 3), (0, 9, 3)), ((), ())])
def test_piecewise_refuses_starts_that_do_not_fit(values: tuple[float, ...], starts: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="start"):
        Piecewise(values, starts)


def test_each_value_of_a_schedule_is_checked() -> None:
    check_positive("eps", Piecewise(values=(0.1, 0.2), starts=(0, 5)))
    with pytest.raises(ValueError, match="eps=-1 is not more than 0"):
        check_positive("eps", Piecewise(values=(0.1, -1), starts=(0, 5)))
    with pytest.raises(ValueError, match=r"eps=0.0 is not more than 0"):
        check_positive("eps", StepDecay(initial=0, factor=0.8, every_epochs=10))


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (-1, r"lr=-1 is not a finite number from 0; choose a number that is"),
        (math.nan, "lr=nan is not a finite number from 0"),
        (".inf", "lr=inf is not a finite number from 0"),
        (".NaN", "lr=nan is not a finite number from 0"),
        ("-.inf", "lr=-inf is not a finite number from 0"),
        ("abc", "lr='abc' is neither a number nor a schedule; write a number"),
        (None, "lr=None is neither a number nor a schedule"),
        (Piecewise((0.1, "x"), (0, 1)), "lr='x' is neither a number nor a schedule"),  # ty: ignore
    ],
)
def test_a_rate_that_leads_nowhere_is_refused(rate: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_rate("lr", rate)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((-1, 0.5, 1), "initial=-1 is not a number from 0"),
        ((0.1, -0.5, 1), "factor=-0.5 is not a finite number from 0"),
        ((0.1, 0.5, -0.0001), "every_epochs=-0.0001 is not more than 0"),
        ((0.1, 0.5, 0), "every_epochs=0 is not more than 0"),
        (("abc", 0.5, 1), "initial='abc' is neither a number nor a schedule"),
    ],
)
def test_a_decay_that_is_none_is_refused(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StepDecay(*values)


def test_a_decay_that_grows_beyond_all_numbers_is_infinite() -> None:
    assert StepDecay(1.0, 10.0, 1e-3)(epoch=1) == StepDecay(1.0, 2.0, 1e-320)(epoch=1) == math.inf


def test_infinity_may_be_spelled_as_yaml_spells_it() -> None:
    spelled: Any = ".inf"
    check_positive("clip", spelled)
    assert value_at(spelled, 0.0) == value_at(Piecewise((1.0, spelled), (0, 1)), 2.0) == math.inf
    assert StepDecay(1.0, 0.5, spelled)(epoch=100) == 1.0


def test_a_plain_number_is_a_constant() -> None:
    assert value_at(0.5, epoch=7) == 0.5
