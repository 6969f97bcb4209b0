"""What the options of today say of a configuration's settings, read from their files as they are written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tightfit.records.places import CONF

from .load import flat


def defaults_of(config: Mapping[str, Any], conf: Path = CONF) -> dict[str, Any]:
    """The default of each setting that has one, by names such as `optimizer.lr.initial`, of the options in `config`."""
    general = {name: value for name, value in read(conf / "config.yaml").items() if name not in ("defaults", "hydra")}
    chosen = {part: value["name"] for part, value in config.items() if isinstance(value, Mapping) and "name" in value}
    options = {part: option(conf / part, str(name)) for part, name in chosen.items()}
    return {name: value for name, value in flat({**general, **options}).items() if not is_reference(value)}


def option(folder: Path, name: str) -> dict[str, Any]:
    """The settings of the option `name` in `folder`, those of the options it is made of included; none of another's."""
    settings: dict[str, Any] = {}
    own = read(folder / f"{name}.yaml")
    for part in own.pop("defaults", []):
        if isinstance(part, Mapping):
            group, chosen = next(iter(part.items()))
            group = str(group).removeprefix("override ")
            settings[group] = {**settings.get(group, {}), **option(folder / group, str(chosen))}
        elif part != "_self_":
            settings |= option(folder, part)
    return {**settings, **own}


def read(path: Path) -> dict[str, Any]:
    """What the file says; nothing where there is none, as of an option that has gone."""
    return dict(parsed(path))


@cache  # many runs are of the same options
def parsed(path: Path) -> Mapping[str, Any]:
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def is_reference(value: Any) -> bool:
    """Whether `value` is not known before the configuration is composed."""
    return isinstance(value, str) and value.startswith(("${", "???"))
