"""Processes that make runs: forks of this one, which has imported all that a run needs, so that each takes a moment."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tightfit.commands import DONE, FAILED, INTERRUPTED, WRONG_WORDS
from tightfit.run.faults import EXPECTED
from tightfit.run.session import carry_out

PATIENCE_SECONDS = 120.0
STUCK = -1000  # instead of an exit code
FAULT_OF_OURS = 70


class Injected(Protocol):
    def install(self) -> None: ...


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, minus the signal's number where one killed it, and all that it said."""

    code: int
    said: str

    @property
    def refusal(self) -> str:
        """What it said last, in a line."""
        return (self.said.strip().splitlines() or [""])[-1]


class Child:
    """A process that does `work`, whose answer is its exit status."""

    def __init__(self, work: Callable[[], int], log: Path) -> None:
        self.log = log
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(child_main(work, log))

    def join(self) -> Ended:
        """How it ended; one that takes too long is killed."""
        give_up, stuck = time.monotonic() + PATIENCE_SECONDS, False
        while not (found := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > give_up and not stuck:
                os.kill(self.pid, signal.SIGKILL)
                stuck = True
            time.sleep(0.005)
        said = self.log.read_text(errors="replace")
        return Ended(STUCK if stuck else os.waitstatus_to_exitcode(found[1]), said)


def child_main(work: Callable[[], int], log: Path) -> int:
    code = FAULT_OF_OURS
    with contextlib.suppress(BaseException):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(written, 1)
        os.dup2(written, 2)
        # Whatever put itself in their place, such as pytest, keeps what was there.
        sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        code = as_command(work)
    return code


def as_command(work: Callable[[], int]) -> int:
    """The exit status of `work`, told as `tightfit run` tells it."""
    try:
        return work()
    except KeyboardInterrupt:
        return INTERRUPTED
    except EXPECTED as error:
        print(error, file=sys.stderr)
        return WRONG_WORDS
    except BaseException:
        traceback.print_exc()
        return FAULT_OF_OURS
    finally:
        sys.setprofile(None)


def making(config: dict[str, Any], injected: Sequence[Injected] = (), note: Path | None = None) -> Callable[[], int]:
    """Make the run of `config` while what is `injected` does its work; into `note` goes what that counted."""

    def work() -> int:
        for each in injected:
            each.install()
        try:
            outcome = carry_out(config)
        finally:
            sys.setprofile(None)
            if note is not None:
                counts = [getattr(each, "counts", None) or getattr(each, "count", 0) for each in injected]
                note.write_text(json.dumps(counts))
        if outcome.status == "failed":
            print(outcome.reason, file=sys.stderr)
        return FAILED if outcome.status == "failed" else DONE

    return work
