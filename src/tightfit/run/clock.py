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


class Clock:
    """Counts training and evaluation seconds; recording, logging and set-up fall in neither.

    On CUDA the device is synchronised where training begins and where it ends, so queued kernels are paid by whoever
    queued them; not between two steps, so that the host can go on while the device works.

    Waiting for a busy machine is training time. Time in which the process is stopped (SIGSTOP, Ctrl-Z) is not. SIGCONT
    tells that a step was stopped: it then counts its processor seconds, or the mean of the steps before it where that
    is more (on CUDA), and the rest are stopped seconds. This clock stands still while a computer is suspended. Nothing
    tells the process that its container was frozen, so that counts.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.train_seconds = 0.0
        self.train_cpu_seconds = 0.0  # far below train_seconds: the machine was busy with something else
        self.eval_seconds = 0.0
        self.stopped_seconds = 0.0
        self._continued = 0
        self._under_way: tuple[float, int] | None = None  # when the last step ended that the device may be at still
        self._steps, self._seconds = 0, 0.0  # of training since this clock was made

    @contextmanager
    def training(self) -> Generator[None]:
        start, continued = self._under_way or (self._now(), self._continued)
        start_cpu = time.process_time()
        yield
        end = time.perf_counter()
        if self.device.type == "cuda":
            self._under_way = end, self._continued
        seconds, cpu = end - start, time.process_time() - start_cpu
        if self._continued != continued:
            mean = self._seconds / self._steps if self._steps else 0.0
            explained = min(seconds, max(mean, cpu))
            self.stopped_seconds += seconds - explained
            seconds = explained
        self._steps, self._seconds = self._steps + 1, self._seconds + seconds
        self.train_seconds += seconds
        self.train_cpu_seconds += cpu

    def settle(self) -> None:
        """Wait for the steps that the device is at: that is training too."""
        if self._under_way is not None:
            (start, _), self._under_way = self._under_way, None
            self.train_seconds += self._now() - start

    @contextmanager
    def noticing_stops(self) -> Generator[None]:
        """Inside, the time in which the process is stopped does not count as training."""
        if threading.current_thread() is not threading.main_thread():  # only there can handlers be set
            yield
            return
        before = signal.signal(signal.SIGCONT, self._count_continuation)
        try:
            yield
        finally:
            signal.signal(signal.SIGCONT, before)

    def _count_continuation(self, number: int, frame: FrameType | None) -> None:
        self._continued += 1

    @contextmanager
    def evaluation(self) -> Generator[None]:
        self.settle()
        start = self._now()
        yield
        self.eval_seconds += self._now() - start

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def state_dict(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in COUNTED}

    def load_state_dict(self, state: dict[str, float]) -> None:
        for name, seconds in state.items():
            setattr(self, name, seconds)
