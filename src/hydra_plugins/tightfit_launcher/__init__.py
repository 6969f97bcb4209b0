"""Hydra's launchers of a sweep whose runs go side by side on this machine, in processes of their own or stacked in one;
Hydra finds launchers in `hydra_plugins`."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

logger = logging.getLogger(__name__)
# What sets the threads of the libraries that are loaded below; PyTorch's are set by each run.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS")


class Sweep(Launcher):
    """What launchers of ours share: each job of a sweep is composed when it is needed."""

    how: str  # the runs are made, in words

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        setup_globals()
        hydra = self.config.hydra
        configure_log(hydra.hydra_logging, hydra.verbose)
        Path(str(hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        logger.info(f"{len(job_overrides)} runs, {self.how}")
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            logger.info(f"\t#{number} : {' '.join(filter_overrides(overrides))}")
        self.jobs, self.first = [list(overrides) for overrides in job_overrides], initial_job_idx
        from tightfit.run.configuration import began

        began.append(hydra.job.name)
        return self.carry_out()

    def carry_out(self) -> Sequence[JobReturn]:
        raise NotImplementedError

    def compose(self, job: int) -> DictConfig:
        config = self.context.config_loader.load_sweep_config(self.config, self.jobs[job])
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{self.first + job}"
            config.hydra.job.num = self.first + job
        return config

    def failed(self, job: int, reason: str) -> JobReturn:
        return JobReturn(self.jobs[job], status=JobStatus.FAILED, _return_value=CompactHydraException(reason))


class Stacked(Sweep):
    """Trains the runs of a sweep that differ in seeds and scalars alone as one, at most `most` of them."""

    def __init__(self, most: int) -> None:
        """Raises ValueError unless `most` is a whole number above 0."""
        if not isinstance(most, int) or most < 1:
            raise ValueError(f"hydra.launcher.most={most} but runs are stacked; choose 1 or more")
        self.most, self.how = most, f"at most {most} in a stack"

    def carry_out(self) -> Sequence[JobReturn]:
        from tightfit.launch.stacked import carry_out_stacked

        configs: dict[int, dict[str, Any]] = {}
        outcomes: dict[int, Any] = {}
        for job in range(len(self.jobs)):
            try:
                configs[job] = described_by(self.compose(job))
            except ValueError as error:  # the others are made all the same
                outcomes[job] = error
        outcomes |= zip(configs, carry_out_stacked(list(configs.values()), self.most), strict=True)
        return [self.told(job, outcomes[job]) for job in range(len(self.jobs))]

    def told(self, job: int, outcome: Any) -> JobReturn:
        if isinstance(outcome, BaseException) or outcome.status == "failed":
            reason = str(outcome if isinstance(outcome, BaseException) else outcome.reason)
            print(reason, file=sys.stderr, flush=True)
            return self.failed(job, reason)
        return JobReturn(self.jobs[job], status=JobStatus.COMPLETED, _return_value=outcome.status)


class SideBySide(Sweep):
    """Makes the runs of a sweep, `n_jobs` at a time; one whose process is killed fails alone."""

    def __init__(self, n_jobs: int) -> None:
        """Raises ValueError unless `n_jobs` is a whole number above 0."""
        if not isinstance(n_jobs, int) or n_jobs < 1:
            raise ValueError(f"hydra.launcher.n_jobs={n_jobs} but runs go side by side; choose 1 or more")
        self.n_jobs, self.how = n_jobs, f"{n_jobs} side by side"

    def carry_out(self) -> Sequence[JobReturn]:
        self.load()
        from tightfit.launch.workers import Workers

        return Workers(self.make, self.lost, self.n_jobs).carry_out(len(self.jobs))

    def load(self) -> None:
        """Import here what every run imports, and say here what each would say."""
        for name in THREADS:
            os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // self.n_jobs)))
        from tightfit.run.parts import build

        with contextlib.suppress(Exception):  # the first run will tell
            build(described_by(self.compose(0))["tracker"])

    def make(self, job: int) -> JobReturn:
        """In a process of its own: the run number `job`. Every error becomes its line, which is all that can be sent
        back; one that Hydra would not tell in a line shows its trace here."""
        config = self.compose(job)
        HydraConfig.instance().set_config(config)
        done = run_job(
            hydra_context=self.context,
            task_function=self.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        error = done._return_value
        if done.status == JobStatus.FAILED and not isinstance(error, CompactHydraException):
            traceback.print_exception(error)
            return self.failed(job, f"{type(error).__name__}: {error}")
        return done

    def lost(self, job: int, exit_code: int) -> JobReturn:
        """Name and record the run number `job`, whose process died."""
        from tightfit.records.record import FINAL
        from tightfit.run.attempt import record_loss
        from tightfit.run.progress import describe, say

        config = described_by(self.compose(job))
        outcome = record_loss(config, exit_code)
        if outcome.status in FINAL:
            return JobReturn(self.jobs[job], status=JobStatus.COMPLETED, _return_value=outcome.status)
        say(describe(config), f"failed: {outcome.reason}")
        return self.failed(job, f"{describe(config)}: {outcome.reason}")


def described_by(config: DictConfig) -> dict[str, Any]:
    """The run that `config` describes, without what is Hydra's."""
    from tightfit.run.configuration import resolved

    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    return resolved(config)
