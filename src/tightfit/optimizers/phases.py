"""Where the time of a step goes, part by part."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager


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
