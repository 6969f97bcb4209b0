"""What a run says of itself while it is made: a line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def describe(config: Mapping[str, Any]) -> str:
    """A run in a few words, for progress lines."""
    parts = [config[part]["name"] for part in ("optimizer", "dataset")]
    if config["optimizer"].get("bp_layers") is not None:
        parts[0] += f" bp_layers={config['optimizer']['bp_layers']}"
    if config["memory_budget"]["name"] != "unlimited":
        parts.append(config["memory_budget"]["name"])
    return f"{' · '.join(parts)} · seed {config['seed']}"


def show(label: str, done: float, accuracy: float, seconds: float) -> None:
    left = max(0.0, seconds / done - seconds) if done else float("nan")  # a last step may end past the limit
    remaining = f", {left:.0f} s left" if done else ""
    say(label, f"{done:4.0%} accuracy {accuracy:.2%} after {seconds:.1f} s of training{remaining}")


def say(label: str, text: str) -> None:
    print(f"[{label}] {text}", flush=True)
