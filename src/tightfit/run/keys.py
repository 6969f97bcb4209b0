"""What a run computes, as a key: the name of its folder, by which it is known again.

Two configurations have one key where they can only compute the same. What a part is to be known by it says itself:
its `cosmetic` settings change no number (see `records.cosmetic`), and a setting that says something of a part and is
not given to it does not count either. A part that is `unkeyed` is the same as none: it came to be named when there was
a choice. Where code lies within tightfit, and how a number is written, do not count.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import pydoc
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

COSMETIC = ("tracker", "paths", "force")  # parts of a configuration that cannot change what a run computes
COSMETIC_OF_TRAINING = ("capture",)  # captured steps compute the same bits
# Settings of a method, and of the parts it is made of, that say something of it and are not given to it.
DESCRIPTIONS = ("name", "called", "usual_lr")
OURS = "tightfit."


def run_key(config: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that name what `config` computes."""
    text = json.dumps(canonical(config), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def run_folder(config: Mapping[str, Any]) -> Path:
    """Where the run that `config` describes is recorded."""
    return Path(config["paths"]["runs"]) / config["experiment"] / run_key(config)


def canonical(config: Mapping[str, Any]) -> Any:
    """`config` in the one form of all configurations that compute the same; nulls and cosmetic parts are left out."""
    counted = {name: value for name, value in config.items() if name not in COSMETIC}
    if isinstance(counted.get("training"), Mapping):
        counted["training"] = {n: value for n, value in counted["training"].items() if n not in COSMETIC_OF_TRAINING}
    return essential(counted)


def essential(value: Any) -> Any:
    if isinstance(value, Mapping):
        idle = idle_settings(str(value["_target_"])) if "_target_" in value else frozenset()
        counted = {str(name): part for name, part in value.items() if name not in idle and not is_as_none(part)}
        return {name: target(each) if name == "_target_" else essential(each) for name, each in sorted(counted.items())}
    if isinstance(value, list | tuple):
        return [essential(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_as_none(value: Any) -> bool:
    """Whether a setting with this value computes what it would without it."""
    return value is None or (isinstance(value, Mapping) and "_target_" in value and is_unkeyed(str(value["_target_"])))


@cache
def is_unkeyed(path: str) -> bool:
    try:
        return getattr(pydoc.locate(path), "unkeyed", False)
    except pydoc.ErrorDuringImport:
        return False


def target(path: str) -> str:
    """The name that a `_target_` ends with, where it is ours, so that modules may move; another's in full."""
    return path.rpartition(".")[2] if path.startswith(OURS) else path


@cache
def idle_settings(path: str) -> frozenset[str]:
    """The settings of the part made by `path` that change no number: none of code that cannot be imported."""
    try:
        make = pydoc.locate(path)
        taken = inspect.signature(make).parameters if callable(make) else {}
    except (pydoc.ErrorDuringImport, ValueError):  # ValueError: of a built-in
        return frozenset()
    takes_all = any(each.kind == each.VAR_KEYWORD for each in taken.values())
    said = () if takes_all or not callable(make) else (name for name in DESCRIPTIONS if name not in taken)
    return frozenset([*getattr(make, "cosmetic", ()), *said])
