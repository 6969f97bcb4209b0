"""Every configuration that a sweep goes through, in the order of Hydra's own sweeper.

Hydra composes one in a tenth of a second. Those that differ in plain settings alone, such as the seed, come of the same
files, which are composed once; then the settings are put in, as Hydra itself does it last.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from tightfit.run.configuration import resolved


def parsed(words: Sequence[str]) -> list[Override]:
    """The overrides that `words` are. Raises HydraException for those that are none."""
    return OverridesParser.create().parse_overrides(list(words))


def combinations(overrides: Sequence[Override]) -> list[dict[str, Any]]:
    """The resolved configuration of each combination of values; of two overrides with one key the later one holds.

    Raises HydraException for names that do not exist, ValueError for what cannot be resolved.
    """
    latest = {override.get_key_element(): override for override in overrides}
    values = {key: values_of(override) for key, override in latest.items()}
    plain = {key for key, override in latest.items() if override.is_sweep_override() and is_plain(override)}
    files: dict[tuple[str, ...], DictConfig] = {}
    configs = []
    for combination in itertools.product(*([(key, value) for value in choice] for key, choice in values.items())):
        chosen = tuple(f"{key}={value}" for key, value in combination if key not in plain)
        settings = [f"{key}={value}" for key, value in combination if key in plain]
        if chosen not in files:
            files[chosen] = compose("config", overrides=[*chosen, *settings])
        for setting in parsed(settings):
            OmegaConf.update(files[chosen], setting.key_or_group, setting.value(), merge=True)
        configs.append(resolved(files[chosen]))
    return configs


def is_plain(override: Override) -> bool:
    """Whether it only puts values where others are: it chooses no file, adds and deletes nothing, merges no mapping."""
    if override.is_add() or override.is_force_add() or override.is_delete() or override.package is not None:
        return False
    is_group = GlobalHydra.instance().config_loader().get_group_options(str(override.key_or_group))
    return not is_group and not any("{" in value for value in values_of(override))


def values_of(override: Override) -> list[str]:
    """What `override` sets its key to: several values when it is swept over."""
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]
