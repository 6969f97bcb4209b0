"""Train one model by one method under one budget: `python -m tightfit.run optimizer=mezo dataset=mnist seed=3`.

This is where a composed configuration becomes objects. Several values, or an experiment, make a sweep:
`python -m tightfit.run -m optimizer=bp_sgd,mezo seed=0,1,2` or `python -m tightfit.run experiments=elasticzo/table1`.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

from tightfit.records.places import CONF, HOME

os.environ.setdefault("TIGHTFIT_ROOT", str(HOME))  # conf/ refers to it to make experiments/ a config group

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tightfit.run.spellings import in_todays_words


def cores_for(threads: int) -> int:
    """How many runs of `threads` threads this machine's cores carry side by side; a run refuses less than one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads) if isinstance(threads, int) and threads > 0 else cores


OmegaConf.register_new_resolver("cores_for", cores_for, replace=True)


def resolved(config: DictConfig) -> dict[str, Any]:
    """`config` as plain dicts and lists, with every interpolation replaced by its value, and choices that depend on
    the machine and change bits (a model's `compute`) by what this machine chooses: a run's key names them.

    Raises ValueError when a value that has no default is missing, or an interpolation leads nowhere.
    """
    if missing := missing_in(OmegaConf.to_container(config)):
        raise ValueError(f"{missing[0]} has no default; write {missing[0]}=…")
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"{error.full_key}: {str(error).splitlines()[0]}; write a value that is there") from error
    assert isinstance(plain, dict)
    return {str(name): settled(value, str(plain.get("device", "cpu"))) for name, value in plain.items()}


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


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(config: DictConfig) -> str:
    from tightfit.run.session import EXPECTED, carry_out  # after Hydra, so that --help need not wait for torch

    try:
        outcome = carry_out(resolved(config))
    except EXPECTED as error:  # that no record tells
        print(error, file=sys.stderr, flush=True)
        fail(str(error))
    if outcome.status == "failed":
        fail(outcome.reason)
    return outcome.status


def fail(reason: str) -> NoReturn:
    """End a run with exit status 1. The other runs of a sweep are made all the same, and that is its status too.

    A run that diverged or was over its budget is a result and no failure.
    """
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        raise CompactHydraException(reason)  # Hydra keeps it until all have run
    sys.exit(1)


def command_line() -> None:
    """What a shell runs; ends the process unless all went well."""
    try:
        sys.argv[1:] = in_todays_words(sys.argv[1:])
        for word in sys.argv[1:]:
            if word in ("optimizer=null", "model=null", "dataset=null", "memory_budget=null", "tracker=null"):
                raise ValueError(f"{word} chooses nothing, and a run needs one; name an option")  # Hydra shows a trace
    except ValueError as error:
        sys.exit(str(error))
    try:
        main()
    except KeyboardInterrupt:  # what was under way is recorded as interrupted
        sys.exit(130)
