"""Train one model by one method under one budget: `python -m tightfit.run optimizer=mezo dataset=mnist seed=3`.

This is where a composed configuration becomes objects. Several values, or an experiment, make a sweep:
`python -m tightfit.run -m optimizer=bp_sgd,mezo seed=0,1,2` or `python -m tightfit.run experiments=elasticzo/table1`.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

# The top-level folders of the checkout; conf/ refers to it to make experiments/ a config group.
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.environ.setdefault("TIGHTFIT_ROOT", ROOT)

import hydra  # noqa: E402
from hydra.core.hydra_config import HydraConfig  # noqa: E402
from hydra.types import RunMode  # noqa: E402
from omegaconf import DictConfig, OmegaConf  # noqa: E402

from tightfit.memory.budget import with_plain_sizes  # noqa: E402

if TYPE_CHECKING:
    from tightfit.session import Outcome


def cores_for(threads: int) -> int:
    """How many runs of `threads` threads this machine's cores carry side by side."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)


OmegaConf.register_new_resolver("cores_for", cores_for, replace=True)


def resolved(config: DictConfig) -> dict[str, Any]:
    """`config` as plain dicts and lists, with every interpolation replaced by its value."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


@hydra.main(version_base="1.3", config_path=os.path.join(ROOT, "conf"), config_name="config")
def main(config: DictConfig) -> str:
    from tightfit.session import carry_out  # after Hydra, so that --help need not wait for torch

    outcome: Outcome = carry_out(resolved(config))
    if HydraConfig.get().mode == RunMode.RUN and outcome.exit_code:
        sys.exit(outcome.exit_code)
    return outcome.status


if __name__ == "__main__":
    try:
        sys.argv[1:] = with_plain_sizes(sys.argv[1:])
    except ValueError as error:
        sys.exit(str(error))
    try:
        main()
    except KeyboardInterrupt:  # what was under way is recorded as interrupted
        sys.exit(130)
