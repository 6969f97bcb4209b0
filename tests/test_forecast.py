"""How long a run takes is said once, in people's units, from what its steps took."""

from pathlib import Path

import pytest

from tightfit.run import forecast
from tightfit.run.forecast import Forecast, duration, of_limited
from tightfit.run.session import carry_out
from tightfit.run.task import Training

from .test_sentences import lines
from .test_session import config


def test_what_is_left_is_what_steps_took_times_those_left() -> None:
    told: list[str] = []
    length = Forecast(told.append, steps=10_000, evaluations=100, limited=False)
    seconds = 7.0  # the first step compiled something
    for step in range(1, 202):
        if step > 1:
            seconds += 1 / 64  # whose sums are exact
        length.after_step(step, seconds, made=1, eval_seconds=3.0)
    # After 2 s: 128 steps past the first. 9,871 are left, of 1/64 s: 154 s; 100 evaluations of 3 s: 300 s.
    assert told == [
        "9,871 steps left, about 3 min of training, and 5 min of scoring; training.seconds=… ends it earlier"
    ]


def test_a_run_that_goes_on_is_told_what_is_left_of_it() -> None:
    told: list[str] = []
    length = Forecast(told.append, steps=1000, evaluations=10, limited=False)
    for step, seconds in ((501, 1000.0), (502, 1004.0), (503, 1008.0)):
        length.after_step(step, seconds, made=6, eval_seconds=60.0)
    assert told == ["498 steps left, about 33 min of training, and 50 s of scoring; training.seconds=… ends it earlier"]


def test_a_short_run_is_told_nothing() -> None:
    told: list[str] = []
    length = Forecast(told.append, steps=10, evaluations=1, limited=False)
    for step in range(1, 11):
        length.after_step(step, 0.1 * step, made=1, eval_seconds=1.0)
    assert told == []


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_000, "117 min"), (7_200, "2 hours"), (172_800, "2 days")],
)
def test_durations_are_in_the_largest_unit_of_which_there_are_two(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_what_seconds_limit_is_said_before_training() -> None:
    limited = Training(epochs=100, seconds=600, fraction=0.5)
    assert of_limited(limited) == "at most 5 min of training, and about 60 s of scoring beside it"
    assert of_limited(Training(epochs=100)) == ""


def test_a_run_says_it_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "SECONDS_TO_TELL_FROM", 0.0)
    carry_out(config(tmp_path))
    assert [line.startswith("22 steps left, about ") for line in lines(capsys)].count(True) == 1  # 24 in all, 2 made
    limited = {"epochs": 4, "evaluations": 4, "batch_size": 16, "seconds": 600}
    carry_out(config(tmp_path, training=limited))
    said = lines(capsys)
    assert said[1] == "at most 10 min of training, and about 2 min of scoring beside it"
    assert not any("steps left" in line for line in said)
