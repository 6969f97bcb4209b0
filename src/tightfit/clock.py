"""An honest clock: seconds of training, evaluation and everything else are counted apart."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

import torch


class Clock:
    """Counts training and evaluation seconds; recording, logging and set-up fall in neither.

    On CUDA the device is synchronised at the borders, so queued kernels are paid by whoever queued them.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.train_seconds = 0.0
        self.train_cpu_seconds = 0.0  # far below train_seconds: the machine was busy with something else
        self.eval_seconds = 0.0

    @contextmanager
    def training(self) -> Generator[None]:
        start, start_cpu = self._now(), time.process_time()
        yield
        self.train_seconds += self._now() - start
        self.train_cpu_seconds += time.process_time() - start_cpu

    @contextmanager
    def evaluation(self) -> Generator[None]:
        start = self._now()
        yield
        self.eval_seconds += self._now() - start

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def state_dict(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("train_seconds", "train_cpu_seconds", "eval_seconds")}

    def load_state_dict(self, state: dict[str, float]) -> None:
        for name, seconds in state.items():
            setattr(self, name, seconds)


class Phases:
    """Seconds a learner spent in each named part of its steps, such as forward, backward, perturb, update.

    One within another pauses it: each second counts for one phase. `current` is the phase that counts, or "".
    Without synchronisation: on CUDA these are the seconds of queueing work, not of doing it.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.current = ""
        self._since = 0.0

    @contextmanager
    def __call__(self, name: str) -> Generator[None]:
        outer = self._switch(name)
        try:
            yield
        finally:
            self._switch(outer)

    def _switch(self, name: str) -> str:
        """Begin the phase `name`; returns the one that ended, which is given its seconds."""
        now, ended = time.perf_counter(), self.current
        if ended:
            self.seconds[ended] = self.seconds.get(ended, 0.0) + now - self._since
        self.current, self._since = name, now
        return ended
