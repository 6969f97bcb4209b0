"""Whether a resolved configuration can be meant: its names are known and its values are of the kind their parts take.

Nothing is built here. What a part takes is read from the signature of its `_target_`, so an own model or data set is
checked like ours.
"""

from __future__ import annotations

import inspect
import json
import math
import pydoc
import re
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from tightfit.commands.words import unknown
from tightfit.records.places import CONF
from tightfit.run.group import world
from tightfit.run.keys import DESCRIPTIONS
from tightfit.run.task import Training, is_whole

PARTS = ("optimizer", "model", "adapter", "dataset", "memory_budget", "tracker")
NEEDED = (*PARTS, "training", "experiment", "profile", "seed", "device", "threads", "paths")
NAMES = (*NEEDED, "cell", "pretraining", "smaller", "start_from", "distributed", "force")
# Names that are no arguments of the part's target, and arguments that the run gives: see `session.build_model`.
NO_ARGUMENTS = {"model": ("name", "tokenizer"), "optimizer": DESCRIPTIONS, "adapter": DESCRIPTIONS}
GIVEN = {"model": ("classes", "seed", "tokenizer", "answers"), "dataset": ("tokenizer",)}
HYDRAS = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")  # how Hydra is to make a part
LARGEST_SEED = 2**63 - 1
MOST_THREADS = 1024
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null"}


def check_configuration(config: Mapping[str, Any], within: str = "") -> None:
    """Raise ValueError for a name that nothing reads, and for a value of another kind than its part takes.

    within: how the names begin, for a configuration inside another, such as `pretraining.`.
    """
    check_names(within.removesuffix(".") or "a run", config, NAMES, within)
    for name in NEEDED:
        if name not in config:
            raise ValueError(f"{name} is missing, and a run needs it; write +{name}=…, or leave out what removed it")
    check_whole(f"{within}seed", config["seed"], 0, LARGEST_SEED)
    check_whole(f"{within}threads", config["threads"], 1, MOST_THREADS)
    check_kind(f"{within}force", config.get("force"), bool | None)
    check_places(config)
    for part in PARTS:
        check_part(within + part, config[part], NO_ARGUMENTS.get(part, ()), GIVEN.get(part, ()))
    if config.get("cell") is not None:
        check_mapping("cell", config["cell"])
        check_names("cell", config["cell"], ("row", "column"), "cell.")
    if config.get("distributed") is not None:
        check_distributed(config["distributed"])
    check_mapping(f"{within}training", config["training"])
    check_names("training", config["training"], inspect.signature(Training).parameters, f"{within}training.")
    Training(**config["training"])
    for name in ("pretraining", "smaller"):
        if config.get(name):
            check_mapping(within + name, config[name])
            if name == "pretraining" and "adapter" in config[name]:
                raise ValueError("pretraining.adapter is not read: an adapter comes after pretraining; leave it out")
            inner = {**config, "pretraining": None, "smaller": None, **config[name]}
            check_configuration(inner, f"{within}{name}.")


def check_distributed(distributed: Any) -> None:
    """Raise ValueError unless it says how many workers share a step, as many as torchrun started where it did."""
    check_mapping("distributed", distributed)
    check_names("distributed", distributed, ("name", "workers"), "distributed.")
    workers = distributed.get("workers")
    check_whole("distributed.workers", workers, 1)
    if world() not in (1, workers):
        raise ValueError(
            f"distributed.workers={workers} but torchrun started {world()} processes; start as many, or one, which "
            "computes the same"
        )


def check_places(config: Mapping[str, Any]) -> None:
    """Raise ValueError unless `experiment` and `paths.runs` name folders, the first inside the second, and `profile`
    is a name."""
    experiment = config["experiment"]
    if not isinstance(config["profile"], str):
        raise ValueError(f"profile={written(config['profile'])} is no name of a profile; write profile=…")
    if not isinstance(experiment, str) or not experiment or {"..", ""} & set(experiment.split("/")):
        raise ValueError(
            f"experiment={written(experiment)} is no folder within paths.runs; write a name such as scratch"
        )
    check_mapping("paths", config["paths"])
    check_names("paths", config["paths"], ("runs",), "paths.")
    if not isinstance(config["paths"].get("runs"), str):
        raise ValueError(
            f"paths.runs={written(config['paths'].get('runs'))} is no folder; write the one that holds runs"
        )


def check_part(name: str, part: Any, no_arguments: Collection[str], given: Collection[str]) -> None:
    """Raise ValueError unless `part` names something that can be imported, and arguments that it takes.

    no_arguments: names in the part that are read elsewhere. given: arguments that are not the configuration's to say.
    """
    check_mapping(name, part)
    if "_target_" not in part:
        raise ValueError(f"{name} says no _target_, so nothing can be built; choose an option by {name}=…")
    make = located(f"{name}._target_", part["_target_"])
    arguments = {key: value for key, value in part.items() if key not in no_arguments and key not in HYDRAS}
    check_arguments(name, make, arguments, given)
    for key, value in part.items():
        if isinstance(value, Mapping) and "_target_" in value:
            check_part(f"{name}.{key}", value, DESCRIPTIONS if within_optimizer(name) else (), ())


def within_optimizer(name: str) -> bool:
    """Whether the part called `name` is a method, or a part of one."""
    return "optimizer" in name.split(".")


def located(name: str, target: Any) -> Callable[..., Any]:
    """What `target`, the value of the setting `name`, names. Raises ValueError when that is nothing to be called."""
    try:
        found = pydoc.locate(str(target))
    except pydoc.ErrorDuringImport as error:
        raise ValueError(f"{name}={target} cannot be imported ({error.value}); mend that module") from error
    if not callable(found):
        raise ValueError(f"{name}={target} names no function or class; write one of a module on PYTHONPATH")
    return found


def check_arguments(name: str, make: Callable[..., Any], arguments: Mapping[str, Any], given: Collection[str]) -> None:
    """Raise ValueError unless `make` can be called with `arguments`, and those that are `given`."""
    try:
        parameters = inspect.signature(make).parameters
    except ValueError:  # of a built-in
        return
    taken = {
        key: each for key, each in parameters.items() if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    }
    if not any(each.kind == each.VAR_KEYWORD for each in parameters.values()):
        known = [key for key in taken if key not in given]
        for key in arguments:
            if key not in known:
                raise ValueError(unknown(target_name(make), key, known, f"{name}.") + had_by(name, key))
    for key, each in taken.items():
        if each.default is each.empty and key not in arguments and key not in given:
            raise ValueError(f"{name}.{key} is missing, and {target_name(make)} needs it; write +{name}.{key}=…")
    hints = hints_of(make)
    for key, value in arguments.items():
        check_kind(f"{name}.{key}", value, hints.get(key))


def had_by(name: str, key: str) -> str:
    """Which options in conf/ for the part `name` have the setting `key`, as the end of a sentence; empty where none."""
    folder = CONF / name.replace(".", "/")
    found = sorted(
        path.stem for path in folder.glob("*.yaml") if re.search(rf"^{key}:", path.read_text(), re.MULTILINE)
    )
    return f"; {name}={' or '.join(found[:3])} has it" if found else ""


def target_name(make: Callable[..., Any]) -> str:
    return getattr(make, "__qualname__", str(make))


def hints_of(make: Callable[..., Any]) -> dict[str, Any]:
    """The types that `make` says of its arguments; none where they cannot be read."""
    try:
        if is_dataclass(make):  # each of its fields where the class that has it stands
            return get_type_hints(make)
        return get_type_hints(make.__init__ if inspect.isclass(make) else make)
    except (NameError, TypeError, AttributeError):
        return {}


def check_kind(name: str, value: Any, hint: Any) -> None:
    """Raise ValueError unless `value` is what `hint` says; hints of anything but plain kinds allow everything."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if not set(kinds) <= KINDS.keys():
        return
    if not any(is_kind(value, kind) for kind in kinds):
        raise ValueError(f"{name}={written(value)} is not {' or '.join(KINDS[kind] for kind in kinds)}; write one")


def is_kind(value: Any, kind: type) -> bool:
    """Whether `value` is of `kind`: true counts as no number, a whole number counts as one, nan does not."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    return is_whole(value) if kind is int else isinstance(value, kind)


def check_mapping(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(
            f"{name}={written(value)} has no settings of its own; choose an option, or write {name}.<setting>=…"
        )


def check_whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Raise ValueError unless `value` is a whole number from `least` to `most`."""
    if not is_whole(value) or value < least or (most is not None and value > most):
        limit = "" if most is None else f" to {most}"
        raise ValueError(f"{name}={written(value)} is no whole number from {least}{limit}; choose one")


def check_names(what: str, settings: Mapping[str, Any], known: Collection[str], within: str) -> None:
    """Raise ValueError for a name in `settings`, which are those of `what`, that is not `known`."""
    for name in settings:
        if name not in known:
            raise ValueError(unknown(what, name, known, within))


def written(value: Any) -> str:
    """`value` as a command line has it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


@contextmanager
def unknown_settings_told(name: str, part: Mapping[str, Any]) -> Generator[None]:
    """Inside, where the part `name` is made, an argument that only its maker can know to be wrong is a ValueError."""
    try:
        yield
    except TypeError as error:
        refused = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if refused is None or refused[1] not in part:
            raise
        known = [key for key in part if key != refused[1] and key not in HYDRAS]
        raise ValueError(unknown(str(part["_target_"]), refused[1], known, f"{name}.")) from error


def targets_in(part: Any) -> set[str]:
    """What `part`, and what is in it, asks to be built: every `_target_`."""
    if isinstance(part, list):
        return set().union(*map(targets_in, part))
    if not isinstance(part, Mapping):
        return set()
    return set().union({str(part["_target_"])} if "_target_" in part else (), *map(targets_in, part.values()))


@cache
def own_targets() -> frozenset[str]:
    """Every `_target_` that an option in conf/ names. A prefix would not do: our modules import others' functions."""
    texts = (path.read_text() for path in CONF.rglob("*.yaml"))
    return frozenset(target for text in texts for target in re.findall(r"_target_: (tightfit\.[\w.]+)\s", text))
