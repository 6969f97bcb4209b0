"""Time in which the process is stopped is neither training nor evaluation; waiting for a busy machine is."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tightfit.datasets.batches import Batches
from tightfit.launch.stacked import carry_out_stacked
from tightfit.records.record import read_evals
from tightfit.run import clock as module
from tightfit.run import loop, pace, stack
from tightfit.run.clock import Clock

from .test_runner import METHODS, carry_out, task
from .test_stack import records, sweep

SLEEPER = """
import sys, time
from tightfit.run.clock import Clock
clock = Clock()
with clock.noticing_stops():
    for step in range(2):
        with clock.training():
            if step == 1:
                print("waiting", flush=True)
                sys.stdin.readline()
print(clock.train_seconds, clock.stopped_seconds)
"""


class Hands:
    """The clocks of the machine and of the process, moved by hand."""

    def __init__(self) -> None:
        self.wall, self.cpu = 100.0, 10.0

    def perf_counter(self) -> float:
        return self.wall

    def process_time(self) -> float:
        return self.cpu

    def pass_(self, wall: float, cpu: float) -> None:
        self.wall, self.cpu = self.wall + wall, self.cpu + cpu


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    hands = Hands()
    monkeypatch.setattr(module, "time", hands)
    return hands


def nothing() -> None:
    pass


def continued() -> None:
    signal.raise_signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("steps", "trained", "stopped"),
    [
        ([(1.0, 1.0, nothing), (9.0, 1.0, nothing)], 10.0, 0.0),  # a busy machine, or a step on CUDA
        ([(1.0, 1.0, nothing), (9.0, 1.0, continued)], 2.0, 8.0),
        ([(3.0, 0.1, nothing), (9.0, 0.1, continued)], 6.0, 6.0),  # on CUDA: as long as the step before
        ([(9.0, 2.0, continued)], 2.0, 7.0),  # before any other step: its processor seconds
        ([(1.0, 1.0, nothing), (1.0, 0.5, continued)], 2.0, 0.0),  # continued without having been stopped
    ],
)
def test_only_a_step_in_which_the_process_was_continued_is_held_to_what_explains_it(
    steps: list[tuple[float, float, Callable[[], None]]], trained: float, stopped: float, hands: Hands
) -> None:
    clock = Clock()
    with clock.noticing_stops():
        for wall, cpu, happens in steps:
            with clock.training():
                hands.pass_(wall, cpu)
                happens()
    assert clock.train_seconds == pytest.approx(trained)
    assert clock.stopped_seconds == pytest.approx(stopped)
    assert clock.state_dict()["stopped_seconds"] == clock.stopped_seconds


@pytest.mark.parametrize(
    ("evaluations", "counted", "stopped"),
    [
        ([(1.0, 1.0, nothing), (9.0, 1.0, nothing)], 10.0, 0.0),
        ([(1.0, 1.0, nothing), (9.0, 2.0, continued)], 3.0, 7.0),
        ([(3.0, 0.1, nothing), (9.0, 0.1, continued)], 6.0, 6.0),
    ],
)
def test_an_evaluation_in_which_the_process_was_continued_is_held_to_what_explains_it(
    evaluations: list[tuple[float, float, Callable[[], None]]], counted: float, stopped: float, hands: Hands
) -> None:
    clock = Clock()
    with clock.noticing_stops():
        with clock.training():  # says nothing of how long an evaluation takes
            hands.pass_(100.0, 100.0)
        for wall, cpu, happens in evaluations:
            with clock.evaluation():
                hands.pass_(wall, cpu)
                happens()
    assert clock.eval_seconds == pytest.approx(counted)
    assert clock.stopped_seconds == pytest.approx(stopped)
    assert clock.train_seconds == pytest.approx(100.0)


def test_a_continuation_is_noticed_by_the_clocks_of_all_runs_in_the_process(hands: Hands) -> None:
    of_the_stack, of_a_run = Clock(), Clock()
    with of_the_stack.noticing_stops(), of_a_run.evaluation():
        hands.pass_(9.0, 1.0)
        continued()
    assert (of_a_run.eval_seconds, of_a_run.stopped_seconds) == pytest.approx((1.0, 8.0))


def test_a_process_that_is_stopped_and_continued_does_not_train_meanwhile() -> None:
    child = subprocess.Popen([sys.executable, "-c", SLEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    child.send_signal(signal.SIGCONT)
    trained, stopped = map(float, child.communicate("\n")[0].split())
    assert stopped > 1.0
    assert trained < stopped


def stopped_within(step: int, hands: Hands, real: Callable[..., Any]) -> Callable[..., Any]:
    """`real`, which each step calls once, as it is when each takes a second and that one is stopped for a thousand."""
    calls = iter(range(step + 1))

    def call(*given: Any) -> Any:
        hands.pass_(wall=1.0, cpu=1.0)
        if next(calls, None) == step:
            hands.pass_(wall=1000.0, cpu=0.0)
            continued()
        return real(*given)

    return call


def test_a_run_that_was_stopped_has_that_on_record_and_not_as_training(
    hands: Hands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Batches, "batch", stopped_within(4, hands, Batches.batch))
    summary = carry_out(task(METHODS["bp_sgd"]), tmp_path).summary
    assert (summary["train_seconds"], summary["stopped_seconds"]) == pytest.approx((summary["steps"], 1000.0))


@pytest.mark.parametrize(("seconds", "evaluated_after"), [(24.0, [0, 6, 24]), (None, [0, 6, 12, 18, 24])])
def test_a_run_that_seconds_limit_leaves_out_evaluations_that_take_too_long(
    seconds: float | None, evaluated_after: list[int], hands: Hands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 24 steps takes a second, and each of four evaluations a hundred."""
    score = loop.score

    def slow(*given: Any) -> Any:
        hands.pass_(wall=100.0, cpu=100.0)
        return score(*given)

    monkeypatch.setattr(loop, "score", slow)
    monkeypatch.setattr(pace, "perf_counter", hands.perf_counter)
    monkeypatch.setattr(Batches, "batch", stopped_within(-1, hands, Batches.batch))
    carry_out(task(METHODS["bp_sgd"], seconds=seconds), tmp_path)
    assert [row["step"] for row in read_evals(tmp_path)] == evaluated_after


def test_runs_of_a_stack_that_was_stopped_have_that_on_record_and_not_as_training(
    hands: Hands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "in_bucket", stopped_within(4, hands, stack.in_bucket))
    configs = sweep(tmp_path)
    carry_out_stacked(configs, most=64)
    for summary in (record.summary for record in records(configs)):
        assert (summary["train_seconds"], summary["stopped_seconds"]) == pytest.approx((summary["steps"], 1000.0))


def test_on_a_gpu_the_device_is_waited_for_after_the_last_step_before_something_else_and_not_between_steps(
    hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []

    def synchronize(device: object) -> None:
        waits.append(device)
        hands.pass_(wall=10.0, cpu=0.0)

    monkeypatch.setattr(module.torch.cuda, "synchronize", synchronize)
    clock = Clock("cuda")
    for _ in range(3):
        with clock.training():
            hands.pass_(wall=1.0, cpu=1.0)
        hands.pass_(wall=0.5, cpu=0.5)  # of the loop, in which the device goes on
    assert len(waits) == 1
    with clock.evaluation():
        hands.pass_(wall=100.0, cpu=1.0)
    assert clock.train_seconds == pytest.approx(3 * 1.5 + 10.0)
    assert clock.eval_seconds == pytest.approx(100.0 + 10.0)
