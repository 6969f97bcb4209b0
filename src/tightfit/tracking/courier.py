"""Messages to a child process that are sent without ever waiting for it.

Why a process and not a thread: importing wandb and opening a first run takes 1.2 s of Python time, and a thread that
computes in Python holds the interpreter lock between the small kernels of a training step; 1.8 s were lost that way,
on the training clock. A process takes a share of a core at most, may hang or crash on its own, and learns from its
closed input that the training process is gone, even when that was killed.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.util import Finalize
from typing import Any

logger = logging.getLogger(__name__)


class Courier:
    """Sends JSON lines to a child process running `module`; lines that it answers are logged as warnings, each once."""

    def __init__(self, module: str, finish_seconds: float) -> None:
        """Start the child with `finish_seconds` as its argument and return at once."""
        self._module, self._finish_seconds = module, finish_seconds
        self._unsent, self._unread = bytearray(), b""
        self._warned: set[str] = set()
        self._child: subprocess.Popen[bytes] | None = None
        try:
            self._child = start_child(module, str(finish_seconds))
        except OSError as error:
            self._warn(f"{module} is off: its process cannot be started ({error})")
        Finalize(None, self.close, exitpriority=0)  # atexit is not told of the end of a forked process

    def send(self, message: Mapping[str, Any]) -> None:
        """Pass on what the pipe takes now; the rest waits for the next call, or is lost when the child is gone."""
        if self._child is not None:
            self._unsent += json.dumps(message, default=str).encode() + b"\n"
            self._pass_on(self._child)
            self._log_answers(self._child)

    def close(self) -> None:
        """Wait at most `finish_seconds` for the child to do all it was told and end; later messages are dropped."""
        if self._child is None:
            return
        child, self._child = self._child, None
        self._pass_on(child)
        assert child.stdin is not None
        while self._unsent and select.select([], [child.stdin], [], self._finish_seconds)[1]:
            self._pass_on(child)
        child.stdin.close()
        try:
            child.wait(self._finish_seconds)
        except subprocess.TimeoutExpired:
            self._warn(
                f"{self._module} has not ended after {self._finish_seconds:g} s; "
                "the run folders are complete, their mirror may not be"
            )
        self._log_answers(child)

    def _pass_on(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdin is not None
        try:
            while self._unsent:
                del self._unsent[: os.write(child.stdin.fileno(), self._unsent)]
        except BlockingIOError:
            pass  # the pipe is full
        except BrokenPipeError:
            self._unsent.clear()
            self._warn(f"{self._module} was killed; the run folders are complete, their mirror is not")

    def _log_answers(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(child.stdout.fileno(), 65536):
                self._unread += chunk
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            self._warn(line.decode())

    def _warn(self, line: str) -> None:
        if line not in self._warned:
            self._warned.add(line)
            logger.warning(line)


def start_child(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A process running `module` with this one's import path, and pipes to it that never block on this side."""
    search_path = os.pathsep.join(path or os.getcwd() for path in sys.path)
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": search_path},
        start_new_session=True,  # Ctrl-C is for the training process, which then ends its run properly
        bufsize=0,
    )
    for pipe in (child.stdin, child.stdout):
        assert pipe is not None
        os.set_blocking(pipe.fileno(), False)
    return child


@functools.cache
def courier_to(module: str, finish_seconds: float, process_id: int) -> Courier:
    """The one courier of process `process_id` to `module`: several runs share the cost of the child's start."""
    return Courier(module, finish_seconds)
