"""Launchers of a sweep whose runs go elsewhere, as jobs of Slurm or tasks of Ray, with one file system for all.

A run's folder is its result, so little comes back but how a run ended; one that is preempted or lost is begun again
somewhere and goes on from its checkpoint.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException

from hydra_plugins.tightfit_launcher import Sweep, described_by

# What a job has to be told of this process, where its machine does not know it.
PASSED_ON = ("PYTHONPATH", "TIGHTFIT_ROOT", "TIGHTFIT_RUNS", "TIGHTFIT_CACHE", "TIGHTFIT_CONF")


class Elsewhere(Sweep):
    """What both share: configurations go out, and how each run ended comes back."""

    def configs(self) -> list[dict[str, Any]]:
        """The runs, with the place of their folders in full, since a job may begin in another."""
        configs = [described_by(self.compose(job)) for job in range(len(self.jobs))]
        return [{**config, "paths": {"runs": str(Path(config["paths"]["runs"]).absolute())}} for config in configs]

    def told(self, job: int, answer: Callable[[], tuple[str, str]]) -> JobReturn:
        """How the run number `job` ended; an error is its own, and the others are made all the same."""
        try:
            status, reason = answer()
        except Exception as error:  # whatever a cluster says of a job that died
            status, reason = "failed", " ".join(str(error).split()) or type(error).__name__
        if status == "failed":
            print(f"#{self.first + job}: {reason}", file=sys.stderr, flush=True)
            return self.failed(job, reason)
        return JobReturn(self.jobs[job], status=JobStatus.COMPLETED, _return_value=status)


def needed(package: str, extra: str = "") -> Any:
    """The package of an extra. Raises CompactHydraException, which is told in a line, where it is missing."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError:
        raise CompactHydraException(
            f"this launcher needs {package}, which is missing; pip install 'tightfit[{extra or package}]'"
        ) from None


class Slurm(Elsewhere):
    """A job of an array for each run, by submitit. Ctrl-C cancels those left, which save where they are."""

    def __init__(
        self,
        cluster: str,
        cpus_per_task: int,
        mem_gb: float,
        timeout_min: int,
        array_parallelism: int,
        signal_delay_s: int,
        max_num_timeout: int,
        additional_parameters: Any = None,
    ) -> None:
        self.cluster, self.max_num_timeout = cluster, max_num_timeout
        self.parameters = {"cpus_per_task": cpus_per_task, "mem_gb": mem_gb, "timeout_min": timeout_min}
        self.of_slurm = {
            "array_parallelism": array_parallelism,
            "signal_delay_s": signal_delay_s,
            "additional_parameters": dict(additional_parameters or {}),
            "setup": ["export SLURM_EXPORT_ENV=ALL", *exports(cpus_per_task)],
        }
        self.how = f"as jobs of {cluster}, at most {array_parallelism} at a time"

    def carry_out(self) -> Sequence[JobReturn]:
        submitit = needed("submitit", extra="slurm")
        from tightfit.launch.elsewhere import Resumable

        configs = self.configs()
        folder = Path(configs[0]["paths"]["runs"]) / ".submitit" / "%j"
        executor = submitit.AutoExecutor(folder, cluster=self.cluster, slurm_max_num_timeout=self.max_num_timeout)
        executor.update_parameters(**self.parameters, **{f"slurm_{n}": value for n, value in self.of_slurm.items()})
        jobs = executor.map_array(Resumable(), configs, self.jobs)
        try:
            return [self.told(number, job.result) for number, job in enumerate(jobs)]
        except KeyboardInterrupt:
            for job in jobs:
                job.cancel(check=False)
            raise


def exports(threads: int) -> list[str]:
    known = {**{name: os.environ[name] for name in PASSED_ON if name in os.environ}, "OMP_NUM_THREADS": str(threads)}
    return [f"export {name}={value!r}" for name, value in known.items()]


class Ray(Elsewhere):
    """A task for each run, on a cluster that runs or on this machine alone. A lost worker's run begins again."""

    def __init__(self, address: str | None, num_cpus: int, max_retries: int) -> None:
        self.address, self.num_cpus, self.max_retries = address, num_cpus, max_retries
        self.how = f"as tasks of Ray at {address or 'this machine'}"

    def carry_out(self) -> Sequence[JobReturn]:
        ray = needed("ray")
        from tightfit.launch.elsewhere import outcome_of

        known = {name: os.environ[name] for name in (*PASSED_ON, "OMP_NUM_THREADS") if name in os.environ}
        ray.init(address=self.address, runtime_env={"env_vars": known}, log_to_driver=False)  # runs have their folders
        try:
            task = ray.remote(num_cpus=self.num_cpus, max_retries=self.max_retries)(outcome_of)
            jobs = [task.remote(*each) for each in zip(self.configs(), self.jobs, strict=True)]
            try:
                return [self.told(number, lambda job=job: ray.get(job)) for number, job in enumerate(jobs)]
            except KeyboardInterrupt:
                for job in jobs:
                    ray.cancel(job)
                ray.wait(jobs, num_returns=len(jobs))  # they save where they are, in the time that takes
                raise
        finally:
            ray.shutdown()
