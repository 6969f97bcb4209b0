"""Jobs side by side, whatever becomes of the processes that do them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tightfit.launch.workers import Workers


def test_answers_come_in_the_order_of_the_jobs() -> None:
    def square(job: int) -> int:
        time.sleep(0.02 * (3 - job % 3))
        return job * job

    assert Workers(square, lambda job, code: None, most=3).carry_out(7) == [0, 1, 4, 9, 16, 25, 36]


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_job_whose_process_dies_is_answered_for_and_no_other_is_lost(most: int) -> None:
    def do(job: int) -> str:
        if job in (1, 2):
            os.kill(os.getpid(), signal.SIGKILL)
        if job == 4:
            os._exit(7)
        return "done"

    answers = Workers(do, lambda job, code: f"{job} died by {code}", most).carry_out(6)
    assert answers == ["done", "1 died by -9", "2 died by -9", "done", "4 died by 7", "done"]


def test_processes_are_shared_by_jobs_and_no_more_than_allowed() -> None:
    processes = Workers(lambda job: os.getpid(), lambda job, code: None, most=2).carry_out(8)
    assert len(set(processes)) <= 2
    assert os.getpid() not in processes


def test_one_that_is_told_to_stop_stops_all(tmp_path: Path) -> None:
    def do(job: int) -> None:
        (tmp_path / str(job)).touch()
        if job == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Workers(do, lambda job, code: None, most=1).carry_out(3)
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


ORPHANS = """
import os, pathlib, signal, sys, time
from tightfit.launch.workers import Workers

def do(job):
    folder = pathlib.Path(sys.argv[1])
    try:
        (folder / f"begun {job}").touch()
        time.sleep(600)
    except KeyboardInterrupt:
        time.sleep(0.3 * job)  # the end of job 0 must not break off what job 1 does at its own
        (folder / f"stopped {job}").touch()
        raise

Workers(do, None, most=2).carry_out(3)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_stop_with_the_process_that_started_them(number: signal.Signals, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", ORPHANS, str(tmp_path)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while len(list(tmp_path.iterdir())) < 2:
        time.sleep(0.02)
    process.send_signal(number)
    process.wait()
    for _ in range(500):
        if len(list(tmp_path.iterdir())) == 4:
            break
        time.sleep(0.02)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"begun 0", "begun 1", "stopped 0", "stopped 1"}
