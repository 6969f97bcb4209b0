"""Plain numbers with what a command line says over them, held to their kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tightfit.memory.transformer import Transformer

MOST = 10**9  # of any number: no model or batch has more
MOST_OF = {"layers": 10**4, "classes": 10**5}
FLAGS = tuple(field.name for field in fields(Transformer) if field.default is False)
KINDS = {bool: "true or false", str: "a word", int: "a whole number", int | float: "a number"}


def value_of(text: str) -> bool | float | str:
    """`text` as what it says: true or false, a whole number, a number, or a word."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def read_yaml(path: Path) -> dict[str, Any]:
    plain = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def known(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.name != "name")


def overridden(
    group: str, plain: Mapping[str, Any], overrides: Mapping[str, Any], names: Sequence[str]
) -> dict[str, Any]:
    """`plain` with `overrides`. Raises ValueError for a name that is not among `names`, or a value of another kind."""
    for name, value in overrides.items():
        if name not in names:
            raise ValueError(f"{group}.{name} is not known; choose {', '.join(names)}")
        wanted = kind_of(group, name, plain)
        if isinstance(value, bool) != (wanted is bool) or not isinstance(value, wanted):
            raise ValueError(f"{group}.{name}={value} is not {KINDS[wanted]}; write one")
        most = MOST_OF.get(name, MOST)
        if not isinstance(value, str) and most < value < float("inf"):
            raise ValueError(f"{group}.{name}={str(value)[:15]} is beyond any model; choose {most:,} or less")
    return {**plain, **overrides}


def kind_of(group: str, name: str, plain: Mapping[str, Any]) -> Any:
    """The type of what `group`.`name` takes: that of what stands there; numbers of a network are whole."""
    present = plain.get(name)
    if group == "model" and name in FLAGS:
        return bool
    if isinstance(present, bool | str):
        return type(present)
    return int if group == "model" else int | float
