"""What a run says of itself while it is made: a line each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from tightfit.run.metrics import Score

SECONDS_APART = 0.5


def describe(config: Mapping[str, Any]) -> str:
    """A run in a few words, for progress lines: those that most often tell the runs of a sweep apart."""
    parts = [config[part]["name"] for part in ("optimizer", "dataset")]
    rate = config["optimizer"].get("lr")
    rate = rate.get("initial") if isinstance(rate, Mapping) else rate
    if rate is not None:
        parts[0] += f" lr={rate:g}" if isinstance(rate, float) else f" lr={rate}"
    if config["optimizer"].get("bp_layers") is not None:
        parts[0] += f" bp_layers={config['optimizer']['bp_layers']}"
    if config["memory_budget"]["name"] != "unlimited":
        parts.append(config["memory_budget"]["name"])
    return f"{' · '.join(parts)} · seed {config['seed']}"


class Spacing:
    """Lets lines pass: the first, the last, and others that come SECONDS_APART at least."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now, self._passed = now, -math.inf

    def lets_pass(self, is_last: bool) -> bool:
        now = self._now()
        if not is_last and now < self._passed + SECONDS_APART:
            return False
        self._passed = now
        return True


def show(label: str, done: float, score: Score, metric: str | None, seconds: float) -> None:
    """done: the part of the run that is over; above 1 where the last step ends past the limit of seconds.
    metric: told beside accuracy, where another one is chosen by."""
    left = max(0.0, seconds / done - seconds) if done else float("nan")
    remaining = f", {left:.0f} s left" if done else ""
    other = f", {metric} {score.by(metric):.3f}" if metric else ""
    part = f"{min(1.0, done):4.0%}"
    say(label, f"{part} accuracy {score.accuracy:.2%}{other} after {seconds:.1f} s of training{remaining}")


def say(label: str, text: str) -> None:
    print(f"[{label}] {text}", flush=True)
