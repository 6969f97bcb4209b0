"""How often a run is evaluated: as asked, unless seconds limit it and evaluation would take more than a fifth."""

from itertools import pairwise

import pytest

from tightfit.run import pace as module
from tightfit.run.pace import Pace


def evaluated_at(
    evaluation: float,
    monkeypatch: pytest.MonkeyPatch,
    *,
    asked: int = 100,
    seconds: float = 10.0,
    limited: bool = True,
    later: float | None = None,
) -> list[int]:
    """The steps, of a thousand that take `seconds`, after which a run evaluates for `evaluation` seconds, or `later`
    ones in its second half."""
    now, passed, steps = 0.0, 0, []
    monkeypatch.setattr(module, "perf_counter", lambda: now)
    pace = Pace(asked, limited)
    with pace.evaluating(0.0):
        now += 5 * evaluation  # the first is cold
    for step in range(1, 1001):
        done, trained = step / 1000, step * seconds / 1000
        if pace.is_due(done, passed, trained):
            with pace.evaluating(done):
                now += evaluation if later is None or done < 0.5 else later
            passed = pace.passed(done, passed)
            steps.append(step)
    return steps


@pytest.mark.parametrize(("evaluation", "limited"), [(0.019, True), (5.0, False)])
def test_evaluations_are_those_asked_for_where_there_is_room_or_no_limit(
    evaluation: float, limited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluated_at(evaluation, monkeypatch, limited=limited) == list(range(10, 1001, 10))


@pytest.mark.parametrize("evaluation", [0.03, 0.1, 0.5, 1.9, 100.0])
def test_evaluation_takes_a_fifth_of_a_run_that_seconds_limit_beside_the_first_and_the_last(
    evaluation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = evaluated_at(evaluation, monkeypatch)
    assert (steps[0], steps[-1]) == (10, 1000)
    assert (len(steps) - 2) * evaluation <= 0.2 * 10.0
    assert (len(steps) + 1) * evaluation > 0.2 * 10.0 * 0.6
    gaps = [later - earlier for earlier, later in pairwise(steps[:-1])]
    assert max(gaps, default=0) - min(gaps, default=0) <= 10  # evenly


def test_evaluations_that_were_left_out_are_not_made_up_for_when_there_is_room_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = evaluated_at(0.5, monkeypatch, later=0.001)
    assert len([step for step in steps if step < 500]) < 10
    after = [step for step in steps if step >= 500]
    assert after[1:] == list(range(after[1], 1001, 10))
