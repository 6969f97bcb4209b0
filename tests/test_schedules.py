import pytest

from tightfit.schedules import Piecewise, StepDecay, check_positive, value_at


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


def test_a_plain_number_is_a_constant() -> None:
    assert value_at(0.5, epoch=7) == 0.5
