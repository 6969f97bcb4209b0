"""Stopping between two steps: Ctrl-C or SIGTERM never leaves weights perturbed or a record half-written."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While active, the first SIGINT or SIGTERM only sets `requested`; a second one stops at once.

    `process_is_stopping` stays set: a worker of a sweep that was told to stop must not begin its next run.
    """

    process_is_stopping = False

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # only there can handlers be set
            self._before = {number: signal.signal(number, self._request) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = Interruption.process_is_stopping = True
