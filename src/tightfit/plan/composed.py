"""A method and its adapter as a run composes them: the planner's door to Hydra."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tightfit.commands.axes import check_axes
from tightfit.memory.budget import MemoryBudget
from tightfit.optimizers.base import Optimizer
from tightfit.records.places import CONF
from tightfit.run.checks import check_part
from tightfit.run.configuration import resolved
from tightfit.run.keys import DESCRIPTIONS
from tightfit.run.parts import build, without_descriptions
from tightfit.run.spellings import in_todays_words


@dataclass(frozen=True)
class Method:
    """name: of the composition, and what was said of it besides; model: the part that a run builds, if one was asked
    for; adapter: the part of one, None for none."""

    name: str
    optimizer: Optimizer
    model: Mapping[str, Any]
    adapter: Mapping[str, Any] | None


def method_of(words: Sequence[str]) -> Method:
    """What a run of `words` trains with. Raises ValueError for what no run could be made of."""
    config = composed(words)
    optimizer = plain(config, "optimizer")
    check_part("optimizer", optimizer, DESCRIPTIONS, ())
    model = plain(config, "model")
    adapter = plain(config, "adapter") if "adapter" in config else model.get("lora")
    if adapter:
        check_part("adapter", adapter, DESCRIPTIONS, ())
        adapter = adapter if adapter.get("name") != "none" else None
    name = optimizer["name"] + (f" + {adapter.get('name', 'lora')}" if adapter else "")
    marks = "." if OmegaConf.is_interpolation(config["optimizer"], "name") else "./"  # such a name says its parts
    said = (re.match(rf"\w+[{marks}]([^=]+=.*)", word) for word in words)
    name = " ".join([name, *(match[1] for match in said if match)])
    built = build(without_descriptions(optimizer))
    if not hasattr(built, "cost"):
        raise ValueError(f"{words[0]} is no method of training; choose one of another name")
    return Method(name, built, model, adapter)


def budget_of(words: Sequence[str]) -> MemoryBudget:
    """The budget that a run of `words` has. Raises ValueError for one that cannot be."""
    part = plain(composed(words), "memory_budget")
    check_part("memory_budget", part, (), ())
    return build(part)


def composed(words: Sequence[str]) -> DictConfig:
    for word in words:
        if word.endswith("=null") and "." not in word:
            raise ValueError(f"{word} chooses nothing, and a plan needs one; name an option")
    said = in_todays_words(words)
    check_axes(said)
    return compose_words(tuple(map(forced, said)))


def forced(word: str) -> str:
    """A setting is added where there is none, so that whoever checks the part can say which it has."""
    key = word.partition("=")[0]
    return f"++{word}" if "." in key and "/" not in key else word


@cache
def compose_words(words: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        try:
            return compose("config", overrides=list(words))
        except MissingConfigException as error:
            group, _, name = str(error.missing_cfg_file).rpartition("/")
            raise ValueError(f"{group}={name} is not known; choose {', '.join(sorted(error.options or ()))}") from None
        except (HydraException, OmegaConfBaseException) as error:
            raise ValueError(f"{str(error).splitlines()[0]} (asked for by {' '.join(words)})") from None


def plain(config: DictConfig, part: str) -> dict[str, Any]:
    """The part of `config`, with what it refers to put in place: in itself, or of how long a run trains."""
    return resolved(OmegaConf.masked_copy(config, [part, "training"]))[part]


def read_yaml(path: Path) -> dict[str, Any]:
    """What an option that no run composes holds: the plain numbers of a plan."""
    plain = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}
