"""Words of a run as its configuration, for callers that are not the command line's."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tightfit.commands.words import WrongWords
from tightfit.records.places import CONF, add_own_code
from tightfit.run.configuration import as_a_sweep, resolved, with_new_settings
from tightfit.run.profiles import with_profile
from tightfit.run.spellings import in_todays_words


def composed(words: Sequence[str], settings: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """The configuration of the run that `words` describe, with the values of `settings`, such as optimizer.lr.

    Raises WrongWords for words that describe none, and for those of a sweep.
    """
    said = with_new_settings(with_profile(in_todays_words(words)))
    if as_a_sweep(said) != said:
        raise WrongWords("several values with commas make a sweep; give one value here")
    add_own_code()
    try:
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            config = compose("config", overrides=said)
            for name, value in settings.items():
                OmegaConf.update(config, name, value, force_add=True)  # whoever checks the part knows its names
            return resolved(config)
    except (HydraException, OmegaConfBaseException) as error:
        raise WrongWords(" ".join(str(error).split())) from error


def with_settings(part: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """`part`, such as a data set on record, with what `words` set in it, as in dataset.scored=validation.

    Raises WrongWords for words that Hydra cannot read, or that have several values.
    """
    changed = copy.deepcopy(dict(part))
    for word in words:
        try:
            said = OverridesParser.create().parse_override(word)
        except HydraException as error:
            raise WrongWords(" ".join(str(error).split())) from error
        if said.is_sweep_override() or said.is_delete():
            raise WrongWords(f"{word} is not one value; give one")
        inside: Any = changed
        *way, name = said.key_or_group.split(".")[1:]
        for step in way:
            inside = inside.setdefault(step, {})
        inside[name] = said.value()
    return changed
