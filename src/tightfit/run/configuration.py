"""The words of a run, composed by Hydra, become plain settings here, and a run is made of them: `tightfit run`.

Nothing else that trains knows Hydra.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from tightfit.records.places import CONF, HOME

os.environ.setdefault("TIGHTFIT_ROOT", str(HOME))  # conf/ refers to it to make experiments/ a config group

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tightfit.commands import DONE, FAILED, WRONG_WORDS, refuse
from tightfit.commands.axes import check_axes
from tightfit.commands.vocabulary import PLAIN, TABLES
from tightfit.run.profiles import with_profile
from tightfit.run.spellings import in_todays_words
from tightfit.run.start import named


def cores_for(threads: int) -> int:
    """How many runs of `threads` threads this machine's cores carry side by side; a run refuses less than one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads) if isinstance(threads, int) and threads > 0 else cores


OmegaConf.register_new_resolver("cores_for", cores_for, replace=True)


def resolved(config: DictConfig) -> dict[str, Any]:
    """`config` as plain dicts and lists, without `TABLES`, with every interpolation replaced by its value.

    Choices that depend on the machine and change bits (a model's `compute`) are made here, and so is what the weights
    to start from are: a run's key names them.

    Raises ValueError when a value that has no default is missing, or an interpolation leads nowhere.
    """
    try:  # by name, since the tables of an experiment are longer than all else
        told = {str(name): plain(config[name]) for name in config if name not in TABLES}
    except OmegaConfBaseException as error:
        if missing := missing_in(OmegaConf.to_container(config)):
            raise ValueError(f"{missing[0]} has no default; write {missing[0]}=…") from error
        raise ValueError(unresolved(config, error)) from error
    if told.get("start_from") is not None:
        told["start_from"] = named(told["start_from"])
    return settled(told, str(told.get("device", "cpu")))


def plain(value: Any) -> Any:
    """`value` as dicts and lists, with every interpolation replaced."""
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if OmegaConf.is_config(value) else value


def unresolved(config: DictConfig, error: OmegaConfBaseException) -> str:
    """What is wrong where an interpolation leads nowhere: often a row of which the experiment's file says nothing."""
    rows, told = config.get("rows"), re.search(r"'(rows\.[^']+)'", str(error))
    if rows and told:
        choose = f"choose one of its rows ({', '.join(rows)}), or write +{told[1]}=…"
        return f"{config.experiment} does not say {told[1]}; {choose}"
    return f"{error.full_key}: {str(error).splitlines()[0]}; write a value that is there"


def settled(part: Any, device: str) -> Any:
    """`part` with the types that the models in it compute in on `device`.

    Raises ValueError for a type that one cannot compute in.
    """
    if not isinstance(part, dict):
        return part
    chosen = {name: settled(value, device) for name, value in part.items()}
    if "compute" in part and "dtype" in part:
        from tightfit.models.widening import computing_type  # imports torch

        chosen["compute"] = computing_type(part["compute"], part["dtype"], device.partition(":")[0])
    return chosen


def missing_in(part: Any, name: str = "") -> list[str]:
    """The values in `part`, which is called `name`, that have no default and were not given."""
    if isinstance(part, dict):
        return [key for child in part for key in missing_in(part[child], f"{name}.{child}".removeprefix("."))]
    return [name] if part == MISSING else []


def main(words: Sequence[str]) -> int:
    """Run what `words` describe, one run or, where one has several values, a sweep; the exit code."""
    try:
        said = in_todays_words(words)
        check_readable(said)
        sys.argv[1:] = with_new_settings(as_a_sweep(with_profile(said)))  # which Hydra reads
    except ValueError as error:
        return refuse(str(error))
    began.clear()
    try:
        hydra_main()
    except SystemExit as ended:
        return WRONG_WORDS if ended.code == FAILED and not began else as_code(ended.code)
    return DONE


def check_readable(words: Sequence[str]) -> None:
    """Raise ValueError for a word that Hydra's grammar cannot read, with how it is written."""
    parser = OverridesParser.create()
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or word.startswith("-"):
            continue
        try:
            parser.parse_override(word)
        except HydraException as error:
            within = value.strip("'").replace("'", "\\'")
            raise ValueError(
                f"{word} cannot be read ({error}); close what is open in it, or where it is a text write it in two "
                f"""pairs of quotes, one for the shell: "{name}='{within}'\""""
            ) from error


def with_new_settings(words: Sequence[str]) -> list[str]:
    """`words`; one that sets what the parts chosen do not set yet adds it to them, as `++` does in Hydra's grammar.

    A part may take more than its option sets, such as memory_budget.enforce; for what it does not take, whoever checks
    the part has a better answer than Hydra. Settings that an experiment sweeps over are left alone: they are there.

    Raises ValueError for a setting of a part that is null, and for an axis that an option chosen lacks.
    """
    check_axes(words)
    deeper = {word: key for word in words if (key := setting_within(word))}
    if not deeper:
        return list(words)
    try:
        parsed = OverridesParser.create().parse_overrides([word for word in words if not word.startswith("-")])
        chosen = [first_of(override) for override in parsed if override.input_line not in deeper]
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            config = compose("config", overrides=chosen, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException):  # which Hydra will tell
        return list(words)
    there: Any = OmegaConf.to_container(config)
    swept = there["hydra"]["sweeper"]["params"] or {}
    if not swept:
        for key in deeper.values():
            check_part_is_there(key, there)
    new = {word for word, key in deeper.items() if key not in swept and is_new(key, there)}
    return [f"++{word}" if word in new else word for word in words]


def check_part_is_there(key: str, there: Mapping[str, Any]) -> None:
    """Raise ValueError where the setting `key` is of a part that is not `there`, such as pretraining."""
    part = key.partition(".")[0]
    if there.get(part) is None:
        raise ValueError(f"{key} cannot be set, for {part}=null has no settings; write +{key}=… to give it one")


def setting_within(word: str) -> str:
    """The name that `word` sets, where it is that of a setting within a part of a run, such as optimizer.lr."""
    said = PLAIN.fullmatch(word)
    is_within = said is not None and said["within"] and "/" not in said["key"] and said["key"] != "hydra"
    return word.partition("=")[0] if is_within else ""


def first_of(override: Override) -> str:
    """What `override` says; of several values the first."""
    if not override.is_sweep_override():
        return str(override.input_line)
    return f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"


def is_new(key: str, there: Mapping[str, Any]) -> bool:
    """Whether the part that the setting `key` is of is `there`, and the setting is not."""
    first, *names = key.split(".")
    part = there.get(first)
    if part is None:
        return False
    for name in names:
        if not isinstance(part, Mapping) or name not in part:
            return True
        part = part[name]
    return False


def as_code(code: str | int | None) -> int:
    return FAILED if isinstance(code, str) else code or DONE


def as_a_sweep(words: list[str]) -> list[str]:
    """`words`, with the flag that Hydra wants to be told of several values.

    Raises ValueError for a part that is chosen to be nothing, of which Hydra would show a trace.
    """
    for word in words:
        if word in ("optimizer=null", "model=null", "dataset=null", "memory_budget=null", "tracker=null"):
            raise ValueError(f"{word} chooses nothing, and a run needs one; name an option")
    if not {"-m", "--multirun"}.isdisjoint(words):
        return words
    plain = [word for word in words if "=" in word and not word.startswith("-")]
    try:
        sweeps = any(said.is_sweep_override() for said in OverridesParser.create().parse_overrides(plain))
    except HydraException:  # which Hydra will tell
        return words
    return ["--multirun", *words] if sweeps else words


began: list[str] = []  # what was begun by the command under way: only before that, words are to blame


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def hydra_main(config: DictConfig) -> str:
    began.append(HydraConfig.get().job.name)
    from tightfit.run.faults import EXPECTED  # after Hydra, so that wrong words need not wait for torch
    from tightfit.run.parts import check_parts
    from tightfit.run.session import carry_out

    try:
        said = resolved(config)
        if not is_sweep():  # in a sweep one value may be impossible: its run is recorded as failed, and others go on
            check_parts(said)
        outcome = carry_out(said, HydraConfig.get().overrides.task)
    except EXPECTED as error:  # that no record tells
        print(error, file=sys.stderr, flush=True)
        fail(str(error), WRONG_WORDS)
    if outcome.status == "failed":
        fail(outcome.reason, FAILED)
    return outcome.status


def is_sweep() -> bool:
    return HydraConfig.get().mode == RunMode.MULTIRUN


def fail(reason: str, code: int) -> NoReturn:
    """End a run with the exit status `code`. The other runs of a sweep are made all the same, and its status is 1.

    A run that diverged or was over its budget is a result and no failure.
    """
    if is_sweep():
        raise CompactHydraException(reason)  # Hydra keeps it until all have run
    sys.exit(code)
