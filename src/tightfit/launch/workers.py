"""Jobs side by side in a few processes: one that dies loses its own job, and the others go on.

Each process is a fork of this one, so it begins with all that was imported here and nothing need be sent but the
number of a job.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

FORK = multiprocessing.get_context("fork")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME_REQUEST_SECONDS = 1.0  # Ctrl-C reaches this process from the terminal and again from the program that started it


@dataclass(eq=False)
class Worker:
    """A process, the pipe to it, and the job it is at."""

    process: BaseProcess
    pipe: Connection
    job: int | None = None


class Workers:
    """Carries out `do(job)` in at most `most` processes; `lost(job, exit_code)` answers for one that died at `job`.

    SIGINT or SIGTERM is passed on to the processes, which then are given no further job; the same holds when one of
    them alone is told to stop. They are in process groups of their own, so that Ctrl-C reaches them through here only.
    """

    def __init__(self, do: Callable[[int], Any], lost: Callable[[int, int], Any], most: int) -> None:
        self.do, self.lost, self.most = do, lost, most
        self.workers: list[Worker] = []
        self.answers: dict[int, Any] = {}
        self.is_stopping, self.asked_at = False, -SAME_REQUEST_SECONDS
        self.process_id = os.getpid()

    def carry_out(self, jobs: int) -> list[Any]:
        """The answers to the jobs 0, 1, …, in order. Raises KeyboardInterrupt when told to stop, once all have."""
        waiting = iter(range(jobs))
        with self.passing_signals_on():
            try:
                for _ in range(min(self.most, jobs)):
                    self.occupy(waiting)
                while self.workers:
                    for ready in wait([worker.pipe for worker in self.workers]):
                        self.listen(next(worker for worker in self.workers if worker.pipe is ready), waiting)
            finally:
                self.dismiss_all()
        if self.is_stopping:
            raise KeyboardInterrupt
        return [self.answers[job] for job in range(jobs)]

    def occupy(self, waiting: Iterator[int], worker: Worker | None = None) -> None:
        """Give the next job to `worker`, or to a new one; without a job left, `worker` is dismissed."""
        job = None if self.is_stopping else next(waiting, None)
        if job is not None:
            worker = worker or self.start()
            worker.job = job
        if worker is not None:
            with contextlib.suppress(OSError):  # it died; the end of its pipe tells
                worker.pipe.send(job)

    def start(self) -> Worker:
        ours, theirs = FORK.Pipe()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # else the fork would write the same once more
        process = FORK.Process(target=work, args=(self.do, theirs))
        process.start()
        theirs.close()
        self.workers.append(worker := Worker(process, ours))
        return worker

    def listen(self, worker: Worker, waiting: Iterator[int]) -> None:
        """Take what `worker` answers, or what its end means."""
        try:
            answer = worker.pipe.recv()
        except (EOFError, OSError):
            self.bury(worker)
            if worker.job is not None:
                self.occupy(waiting)
        else:
            assert worker.job is not None
            self.answers[worker.job], worker.job = answer, None
            self.occupy(waiting, worker)

    def bury(self, worker: Worker) -> None:
        self.workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        exit_code = worker.process.exitcode
        assert exit_code is not None
        if worker.job is not None and exit_code == 0:  # it was told to stop
            if not self.is_stopping:  # else the others were told so too, and a second signal would break off their end
                self.stop()
        elif worker.job is not None:
            self.answers[worker.job] = self.lost(worker.job, exit_code)

    def stop(self) -> None:
        self.is_stopping = True
        for worker in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process.pid or 0, signal.SIGINT)

    def dismiss_all(self) -> None:
        for worker in self.workers:
            with contextlib.suppress(OSError):
                worker.pipe.send(None)
        for worker in self.workers:
            worker.process.join()

    @contextmanager
    def passing_signals_on(self) -> Generator[None]:
        before = {number: signal.signal(number, self.pass_on) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def pass_on(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process_id:  # a process just forked, which has no handler of its own yet
            raise KeyboardInterrupt
        if time.monotonic() - self.asked_at > SAME_REQUEST_SECONDS:
            self.asked_at = time.monotonic()
            self.stop()


def work(do: Callable[[int], Any], pipe: Connection) -> None:
    """Do the jobs that come through `pipe` and answer each, until there is none left or a signal says stop."""
    with contextlib.suppress(KeyboardInterrupt, EOFError):
        for number in SIGNALS:
            signal.signal(number, signal.default_int_handler)
        os.setpgid(0, 0)
        threading.Thread(target=stop_with_parent, daemon=True).start()
        while (job := pipe.recv()) is not None:
            pipe.send(do(job))


def stop_with_parent() -> None:
    """Wait for the end of the process that gives out the jobs; then this one is told to stop."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
