"""How long a run takes is said once, in people's units, from what its steps took."""

from pathlib import Path
from typing import Any

import pytest

from tightfit.run import forecast
from tightfit.run.forecast import Forecast, duration
from tightfit.run.session import carry_out
from tightfit.run.task import Training

from .test_sentences import lines
from .test_session import config


def forecast_of(told: list[str], steps: int, evaluations: int, **training: Any) -> Forecast:
    return Forecast(told.append, Training(epochs=1, evaluations=evaluations, **training), steps, batch_size=32)


def test_what_is_left_is_what_steps_took_times_those_left() -> None:
    told: list[str] = []
    length = forecast_of(told, steps=10_000, evaluations=100)
    seconds = 7.0  # the first step compiled something
    for step in range(1, 202):
        if step > 1:
            seconds += 1 / 64  # whose sums are exact
        length.after_step(step, seconds, made=1, eval_seconds=3.0)
    # After 2 s: 128 steps past the first. 9,871 are left, of 1/64 s: 154 s; 100 evaluations of 3 s: 300 s.
    assert told == [
        "9,871 steps left, about 3 min of training, and 5 min of scoring; training.seconds=… ends it earlier"
    ]


def test_a_run_of_seconds_is_told_after_a_twentieth_of_its_steps() -> None:
    told: list[tuple[int, str]] = []
    length = forecast_of([], steps=101, evaluations=1)
    length._tell = lambda text: told.append((step, text))
    for step in range(1, 102):
        length.after_step(step, step / 16, made=1, eval_seconds=1.0)
    # Five of a hundred after the first: 95 are left, of 1/16 s; and one evaluation.
    assert told == [(6, "95 steps left, about 6 s of training, and 1 s of scoring; training.seconds=… ends it earlier")]


def test_a_run_of_few_long_steps_is_told_after_the_second() -> None:
    told: list[str] = []
    length = forecast_of(told, steps=4, evaluations=1)
    for step in (1, 2, 3):
        length.after_step(step, 100.0 * step, made=1, eval_seconds=0.0)
    assert told == ["2 steps left, about 3 min of training, and 0 s of scoring; training.seconds=… ends it earlier"]


def test_a_run_that_goes_on_is_told_what_is_left_of_it() -> None:
    told: list[str] = []
    length = forecast_of(told, steps=1000, evaluations=10)
    length.before(500, 1000.0, made=6)
    for step, seconds in ((501, 1000.0), (502, 1004.0), (503, 1008.0)):
        length.after_step(step, seconds, made=6, eval_seconds=60.0)
    assert told == [
        "500 steps of 32 examples, 5 evaluations",
        "498 steps left, about 33 min of training, and 50 s of scoring; training.seconds=… ends it earlier",
    ]


def test_a_short_run_is_told_its_steps_alone() -> None:
    told: list[str] = []
    length = forecast_of(told, steps=10, evaluations=1)
    length.before(0, 0.0, made=0)
    for step in range(1, 11):
        length.after_step(step, 0.1 * step, made=1, eval_seconds=1.0)
    assert told == ["10 steps of 32 examples, 2 evaluations"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.4, "0.4 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7_000, "117 min"),
        (7_200, "2 hours"),
        (172_800, "2 days"),
    ],
)
def test_durations_are_in_the_largest_unit_of_which_there_are_two(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_what_seconds_limit_is_said_before_training() -> None:
    told: list[str] = []
    length = forecast_of(told, steps=40_000, evaluations=9, seconds=600, fraction=0.5)
    length.before(0, 0.0, made=0)
    length.after_step(1, 0.0, made=1, eval_seconds=0.0)
    length.after_step(2, 10.0, made=1, eval_seconds=0.0)
    (said,) = told
    assert said == (
        "at most 5 min of training, or 40,000 steps of 32 examples; beside it 3 evaluations, and up to 7 more within "
        "60 s"
    )
    length.before(39_999, 240.0, made=5)
    assert told[1] == (
        "at most 60 s of training, or 1 step of 32 examples; beside it 1 evaluation, and up to 4 more within 12 s"
    )
    told.clear()
    forecast_of(told, steps=9, evaluations=2, seconds=1).before(0, 0.0, made=0)
    assert told == ["at most 1 s of training, or 9 steps of 32 examples; beside it 3 evaluations"]


def test_a_run_says_it_before_it_trains_and_once_its_steps_show_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "LEAST_SECONDS_TOLD", 0.0)
    carry_out(config(tmp_path))
    said = lines(capsys)
    assert said[1] == "24 steps of 16 examples, 5 evaluations"
    assert said[2].startswith("  0% accuracy ")
    assert [line.startswith("21 steps left, about ") for line in said].count(True) == 1  # a twentieth is two steps
    limited = {"epochs": 4, "evaluations": 4, "batch_size": 16, "seconds": 600}
    carry_out(config(tmp_path, training=limited))
    said = lines(capsys)
    assert said[1] == (
        "at most 10 min of training, or 24 steps of 16 examples; beside it 3 evaluations, and up to 2 more within 2 min"
    )
    assert not any("steps left" in line for line in said)
