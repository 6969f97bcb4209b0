"""Labels and names of splits, which files, folders and settings spell in several ways, in one spelling."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

SPLITS = ("train", "validation", "test")
OTHER_NAMES = {"training": "train", "valid": "validation", "val": "validation", "dev": "validation", "testing": "test"}


def spelled(value: Any) -> str:
    """A label in letters, the same whether a file or a configuration says it, and after any way through JSON:
    true, false and null in small letters, and whole numbers without a point."""
    text = value if isinstance(value, str) else json.dumps(value)
    if text.lower() in ("true", "false", "null"):
        return text.lower()
    return text.partition(".")[0] if re.fullmatch(r"-?\d+\.0+", text) else text


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def in_order(labels: Iterable[str]) -> list[str]:
    """Each of `labels` once: by number where all are numbers, else by the alphabet."""
    distinct = sorted(set(labels))
    return sorted(distinct, key=float) if all(map(is_number, distinct)) else distinct


def split_called(name: str) -> str | None:
    """The split that `name` means; None where it means none."""
    plain = name.strip().lower()
    chosen = OTHER_NAMES.get(plain, plain)
    return chosen if chosen in SPLITS else None
