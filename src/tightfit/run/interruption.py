"""Stopping between two steps: Ctrl-C or SIGTERM never leaves weights perturbed or a record half-written.

Nor does SIGUSR2 where somebody has a handler for it, as a scheduler's client that puts a job into the queue again: the
run is saved first, and then the handler has its signal. One that refuses has the run end as by Ctrl-C, for its reason.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
REQUEUE = signal.SIGUSR2
SAME_REQUEST_SECONDS = 1.0  # Slurm tells a job whose time is over twice, milliseconds apart


class Interruption:
    """While active, the first signal only sets `requested`; a second one stops at once.

    A scheduler may say the same twice: within a second only Ctrl-C is a second one.
    `process_is_stopping` stays set: a worker of a sweep that was told to stop must not begin its next run.
    """

    process_is_stopping = False

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}
        self._since = 0.0
        self._to_requeue = False

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # only there can handlers be set
            heard = [*SIGNALS, *([REQUEUE] if callable(signal.getsignal(REQUEUE)) else [])]
            self._before = {number: signal.signal(number, self._request) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._to_requeue:
            try:
                signal.raise_signal(REQUEUE)
            except Exception as error:  # the job's time is over for the last time
                raise KeyboardInterrupt(f"{str(error).rstrip('.')}; run again to continue") from error

    def _request(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.requested and (number == signal.SIGINT or now - self._since > SAME_REQUEST_SECONDS):
            raise KeyboardInterrupt
        if not self.requested:
            self._since = now
        self.requested = Interruption.process_is_stopping = True
        self._to_requeue |= number == REQUEUE
