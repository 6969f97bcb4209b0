"""Waiting for others as long as they get on: a loaded machine is slow, and only standing still is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 300.0


def until(holds: Callable[[], Any], state: Callable[[], str]) -> None:
    """Returns once `holds` is true. Raises AssertionError with `state` when that stood still for too long."""
    last, since = state(), time.monotonic()
    while not holds():
        now = state()
        if now != last:
            last, since = now, time.monotonic()
        if time.monotonic() - since > PATIENCE_SECONDS:
            raise AssertionError(f"nothing changed for {PATIENCE_SECONDS:.0f} s:\n{now}")
        time.sleep(0.3)
