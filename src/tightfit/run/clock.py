"""An honest clock: seconds of training, evaluation and everything else are counted apart."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

import torch

COUNTED = ("train_seconds", "train_cpu_seconds", "eval_seconds", "stopped_seconds")


class Mean:
    """Of the seconds added so far; 0 before any."""

    def __init__(self) -> None:
        self._count, self._sum = 0, 0.0

    def add(self, seconds: float) -> None:
        self._count, self._sum = self._count + 1, self._sum + seconds

    @property
    def value(self) -> float:
        return self._sum / self._count if self._count else 0.0


class Clock:
    """Counts training and evaluation seconds; recording, logging and set-up fall in neither.

    On CUDA the device is synchronised where training begins and where it ends, so queued kernels are paid by whoever
    queued them; not between two steps, so that the host can go on while the device works.

    Waiting for a busy machine counts. Time in which the process is stopped (SIGSTOP, Ctrl-Z) does not. SIGCONT tells
    that a step or an evaluation was stopped: it then counts its processor seconds, or the mean of its kind before it
    where that is more (on CUDA), and the rest are stopped seconds. This clock stands still while a computer is
    suspended. Nothing tells the process that its container was frozen, so that counts.
    """

    _continued = 0  # how often this process was, while any clock noticed: runs of a stack have a clock each

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.train_seconds = 0.0
        self.train_cpu_seconds = 0.0  # far below train_seconds: the machine was busy with something else
        self.eval_seconds = 0.0
        self.stopped_seconds = 0.0
        self._under_way: tuple[float, int] | None = None  # when the last step ended that the device may be at still
        self._steps, self._evaluations = Mean(), Mean()  # since this clock was made

    @contextmanager
    def training(self) -> Generator[None]:
        start, continued = self._under_way or (self._now(), self._continued)
        start_cpu = time.process_time()
        yield
        end = time.perf_counter()
        if self.device.type == "cuda":
            self._under_way = end, self._continued
        cpu = time.process_time() - start_cpu
        self.train_seconds += self._going(end - start, cpu, continued, self._steps)
        self.train_cpu_seconds += cpu

    def _going(self, seconds: float, cpu: float, continued: int, before: Mean) -> float:
        """Of `seconds`, those in which the process was not stopped: all, unless it was continued meanwhile."""
        if self._continued != continued:
            explained = min(seconds, max(before.value, cpu))
            self.stopped_seconds += seconds - explained
            seconds = explained
        before.add(seconds)
        return seconds

    def settle(self) -> None:
        """Wait for the steps that the device is at: that is training too."""
        if self._under_way is not None:
            (start, _), self._under_way = self._under_way, None
            self.train_seconds += self._now() - start

    @contextmanager
    def noticing_stops(self) -> Generator[None]:
        """Inside, the time in which the process is stopped counts neither as training nor as evaluation."""
        if threading.current_thread() is not threading.main_thread():  # only there can handlers be set
            yield
            return
        before = signal.signal(signal.SIGCONT, self._count_continuation)
        try:
            yield
        finally:
            signal.signal(signal.SIGCONT, before)

    def _count_continuation(self, number: int, frame: FrameType | None) -> None:
        Clock._continued += 1

    @contextmanager
    def evaluation(self) -> Generator[None]:
        self.settle()
        start, start_cpu, continued = self._now(), time.process_time(), self._continued
        yield
        seconds, cpu = self._now() - start, time.process_time() - start_cpu
        self.eval_seconds += self._going(seconds, cpu, continued, self._evaluations)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def state_dict(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in COUNTED}

    def load_state_dict(self, state: dict[str, float]) -> None:
        for name, seconds in state.items():
            setattr(self, name, seconds)
