"""What strikes inside a process that makes a run: signals, a disk that fails, a clock that jumps.

Each counts what it could strike at, so that an undisturbed run tells how many moments there are, and how often it did
strike, so that nothing passes for a fault that did not happen.
"""

from __future__ import annotations

import builtins
import errno
import io
import mmap
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tightfit.run.loop import Run

PHASES = ("start", "training", "evaluation", "checkpoint", "end")
LASTING: dict[CodeType, str] = {Run.train.__code__: "training", Run.finish.__code__: "end"}
PASSING: dict[CodeType, str] = {Run.evaluate.__code__: "evaluation", Run.save.__code__: "checkpoint"}


@dataclass(frozen=True)
class Strike:
    """A signal at the n-th call, or return of one, within a phase of the run."""

    phase: str
    n: int
    signal: signal.Signals


class Blows:
    """How many there were, in this process and in all that it forks: they share the byte that is counted in."""

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def add(self) -> None:
        self._byte[0] += 1

    @property
    def number(self) -> int:
        return self._byte[0]


class Moments:
    """Counts the calls and returns of a process by phase, and strikes at those that it was told of."""

    def __init__(self, strikes: Sequence[Strike] = ()) -> None:
        self.counts: Counter[str] = Counter()
        self.blows = Blows()
        self._phases = ["start"]
        self._strikes = {(strike.phase, strike.n): strike.signal for strike in strikes}

    def install(self) -> None:
        sys.setprofile(self.pass_by)

    def pass_by(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code in LASTING:
            self._phases = [LASTING[code]]
        elif event == "call" and code in PASSING:
            self._phases.append(PASSING[code])
        phase = self._phases[-1]
        self.counts[phase] += 1
        if event == "return" and code in PASSING and len(self._phases) > 1:
            self._phases.pop()
        if number := self._strikes.get((phase, self.counts[phase])):
            self.blows.add()
            os.kill(os.getpid(), number)


class Disk:
    """Counts what is done to files within `runs`; from the n-th on it fails, or only then, by an error of the system.

    A write that fails is short first, as on a disk that is nearly full.
    """

    def __init__(self, runs: Path, n: int = 0, error: int = errno.ENOSPC, lasting: bool = False) -> None:
        self.count, self.blows = 0, Blows()
        self._within, self._n, self._error, self._lasting = f"{runs}{os.sep}", n, error, lasting
        self._file_io = self.failing_file()

    def does(self, place: object) -> None:
        """Count one thing done to `place`, a path or a descriptor. Raises OSError where it fails."""
        path = os.readlink(f"/proc/self/fd/{place}") if isinstance(place, int) else os.fspath(place)  # type: ignore[arg-type]
        if not str(path).startswith(self._within):
            return
        self.count += 1
        if self._n and (self.count == self._n or (self._lasting and self.count > self._n)):
            if self.count == self._n:
                self.blows.add()
            raise OSError(self._error, os.strerror(self._error), *([] if isinstance(place, int) else [path]))

    def failing_file(self) -> type[io.FileIO]:
        disk = self

        class FailingFile(io.FileIO):
            broken: OSError | None = None

            def write(self, content: Any) -> int:
                if self.broken is not None:
                    error, self.broken = self.broken, None
                    raise error
                try:
                    disk.does(self.fileno())
                except OSError as error:
                    half = len(content) // 2
                    if not half:
                        raise
                    self.broken = error
                    return super().write(content[:half])
                return super().write(content)

        return FailingFile

    def install(self) -> None:
        for name in ("open", "fsync", "replace", "unlink", "mkdir", "fchmod"):
            setattr(os, name, self.counted(getattr(os, name)))
        io.open = builtins.open = self.open  # type: ignore[assignment]

    def counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(place: Any, *rest: Any, **named: Any) -> Any:
            self.does(place)
            return real(place, *rest, **named)

        return call

    def open(self, file: Any, mode: str = "r", *rest: Any, real: Callable[..., Any] = io.open, **named: Any) -> Any:
        kind = mode.replace("b", "").replace("t", "")
        if kind not in ("w", "a"):
            return real(file, mode, *rest, **named)
        if not isinstance(file, int):
            self.does(file)
        buffered = io.BufferedWriter(self._file_io(file, kind))
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding="utf-8")


class Jumps:
    """Counts the readings of the time of day; from the n-th on it is `seconds` off."""

    def __init__(self, n: int = 0, seconds: float = 0.0) -> None:
        self.count = 0
        self._n, self._seconds = n, seconds

    def install(self, real: Callable[[], float] = time.time) -> None:
        def reading() -> float:
            self.count += 1
            return real() + (self._seconds if self._n and self.count >= self._n else 0.0)

        time.time = reading
