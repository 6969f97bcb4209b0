"""A run's lines on its evaluations are few enough to be read; its record has all of them."""

from pathlib import Path

import pytest

from tightfit.records.record import read_evals
from tightfit.run import progress
from tightfit.run.metrics import Score
from tightfit.run.progress import Spacing, show
from tightfit.run.session import carry_out

from .test_sentences import lines
from .test_session import config


def test_lines_are_apart_but_for_the_first_and_the_last() -> None:
    times = iter([10.0, 10.1, 10.4999, 10.5, 10.9, 11.0, 11.25])
    spacing = Spacing(now=lambda: next(times))
    assert [spacing.lets_pass(is_last=number == 6) for number in range(7)] == [
        True,
        False,
        False,
        True,
        False,
        True,
        True,
    ]


def test_a_last_step_that_ends_late_is_the_end_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    show("a run", 1.04, Score([[1, 1], [1, 1]], 0.7), None, 2.08)
    assert capsys.readouterr().out == "[a run] 100% accuracy 50.00% after 2.1 s of training, 0 s left\n"


@pytest.mark.parametrize(("apart", "shown"), [(0.0, 13), (1e6, 2)])
def test_a_run_records_what_it_does_not_show(
    apart: float, shown: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_APART", apart)
    folder = carry_out(config(tmp_path, training={"epochs": 4, "evaluations": 12, "batch_size": 16})).folder
    told = [line for line in lines(capsys) if "% accuracy " in line]
    assert len(told) == shown
    assert (told[0][:4], told[-1][:4]) == ("  0%", "100%")
    assert len(read_evals(folder)) == 13
