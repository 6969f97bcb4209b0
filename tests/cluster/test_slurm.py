"""Sweeps as jobs of Slurm: the runs of all cores, bit for bit, also where a job is preempted, killed or cancelled."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tightfit.records.record import read_evals

from .slurm import asked, jobs, obstacle, slurm
from .sweeps import FOUR, ONE, as_undisturbed, digests, ended, folders, held, is_anybody_in, only_record, steps, sweep
from .waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(obstacle()), reason=obstacle())]
ON_SLURM = ["hydra/launcher=slurm", "hydra.launcher.mem_gb=2", "hydra.launcher.timeout_min=60"]
# Slurm tells a job up to a minute earlier than it is asked to, which leaves a slow machine one to begin the run in.
SHORT = ["hydra.launcher.timeout_min=3", "hydra.launcher.signal_delay_s=60"]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, str]]:
    with slurm(tmp_path_factory.mktemp("slurm")) as said:
        yield {**os.environ, **said, "PYTHONPATH": os.pathsep.join(["src", "."]), "OMP_NUM_THREADS": "1"}


def state_of(there: dict[str, str], runs: Path) -> str:
    """What changes as long as anything gets on."""
    rows = {path.name: len(read_evals(path)) for path in folders(runs)}
    logs = {path.name: path.read_text() for path in (runs / ".submitit").glob("*/*_log.*")}
    return "\n".join([jobs(there), asked(there, "sinfo", "-h", "-R"), f"evaluations: {rows}", f"logs: {logs}"])


@contextmanager
def held_job(
    there: dict[str, str], runs: Path, marker: Path, *words: str
) -> Generator[tuple[subprocess.Popen[str], str, int]]:
    """A sweep of one run that is held in its middle, the number of its job, and of its process."""
    with sweep(there, runs, *ONE, *ON_SLURM, *held(marker), *words) as process:
        try:
            until(lambda: marker.exists() or process.poll() is not None, state=lambda: state_of(there, runs))
            assert process.poll() is None, process.communicate()[0]
            (job,) = asked(there, "squeue", "-h", "-p", "short", "-o", "%A").split()
            yield process, job, int(marker.read_text())
        finally:
            process.kill()


def test_jobs_end_with_the_weights_of_runs_on_this_machine(
    there: dict[str, str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    ended(sweep(there, tmp_path, *FOUR, *ON_SLURM))
    assert digests(tmp_path) == undisturbed


def let_begin_again(there: dict[str, str], runs: Path, job: str) -> None:
    """Wait for the job to be in the queue again, its run interrupted; spare it the two minutes that it would wait."""
    until(lambda: "JobState=PENDING" in asked(there, "scontrol", "show", "job", job), lambda: state_of(there, runs))
    assert only_record(runs).status == "interrupted"
    asked(there, "scontrol", "update", f"jobid={job}", "StartTime=now")


def test_a_preempted_job_is_begun_again_and_ends_as_if_undisturbed(
    there: dict[str, str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    with held_job(there, runs, tmp_path / "marker") as (process, job, _):
        asked(there, "sbatch", "-p", "urgent", "-c2", "--mem=1G", "--output=/dev/null", "--wrap", "sleep 1")
        let_begin_again(there, runs, job)
        until(lambda: process.poll() is not None, state=lambda: state_of(there, runs))
        ended(process)
    assert only_record(runs).status == "finished"
    assert steps(runs) == [(0, 12), (12, 24)]  # none was lost
    assert as_undisturbed(runs, undisturbed)


def test_a_job_whose_time_is_over_is_begun_again_and_ends_as_if_undisturbed(
    there: dict[str, str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    with held_job(there, runs, tmp_path / "marker", *SHORT) as (process, job, _):
        let_begin_again(there, runs, job)
        until(lambda: process.poll() is not None, state=lambda: state_of(there, runs))
        ended(process)
    assert steps(runs) == [(0, 12), (12, 24)]  # none was lost
    assert as_undisturbed(runs, undisturbed)


def test_a_job_whose_time_is_over_too_often_ends_the_launcher_with_its_reason_and_the_same_line_goes_on(
    there: dict[str, str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    once = "hydra.launcher.max_num_timeout=0"
    with held_job(there, runs, tmp_path / "marker", *SHORT, once) as (process, _, _):
        until(lambda: process.poll() is not None, state=lambda: state_of(there, runs))
        said, _ = process.communicate()
    assert process.returncode == 1, said
    assert "#0: Job not requeued because: timed-out too many times; run again to continue" in said, said
    assert only_record(runs).status == "interrupted"
    ended(sweep(there, runs, *ONE, *ON_SLURM))
    assert steps(runs) == [(0, 12), (12, 24)]
    assert as_undisturbed(runs, undisturbed)


def test_a_job_that_slurm_ends_without_notice_saves_and_the_same_line_goes_on(
    there: dict[str, str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """As a job whose time is over where nobody had it told before: it has SIGTERM, and half a minute."""
    runs = tmp_path / "runs"
    with held_job(there, runs, tmp_path / "marker", "hydra.launcher.signal_delay_s=0") as (process, job, _):
        asked(there, "scontrol", "update", f"jobid={job}", "TimeLimit=1")
        until(lambda: process.poll() is not None, state=lambda: state_of(there, runs))
        said, _ = process.communicate()
    assert process.returncode == 1, said
    assert "#0: stopped on request at step 12 of 24; run again to continue" in said, said
    ended(sweep(there, runs, *ONE, *ON_SLURM))
    assert steps(runs) == [(0, 12), (12, 24)]
    assert as_undisturbed(runs, undisturbed)


def test_a_killed_job_ends_the_launcher_with_its_reason_and_the_same_line_goes_on(
    there: dict[str, str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    with held_job(there, runs, tmp_path / "marker") as (process, job, worker):
        os.kill(worker, signal.SIGKILL)
        until(lambda: process.poll() is not None, state=lambda: state_of(there, runs))
        said, _ = process.communicate()
    assert process.returncode == 1, said
    assert f"#0: Job {job} (task: 0)" in said, said
    assert "has not produced any output" in said
    assert not is_anybody_in(runs)
    ended(sweep(there, runs, *ONE, *ON_SLURM))
    assert steps(runs) == [(0, 6), (6, 24)]  # those since the last checkpoint were made again
    assert as_undisturbed(runs, undisturbed)


def test_ctrl_c_at_the_launcher_cancels_its_jobs_which_save_where_they_are(
    there: dict[str, str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    with held_job(there, runs, tmp_path / "marker") as (process, _, _):
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate()
    assert process.returncode == 130, said
    until(lambda: not jobs(there), state=lambda: state_of(there, runs))
    assert only_record(runs).status == "interrupted"
    ended(sweep(there, runs, *ONE, *ON_SLURM))
    assert steps(runs) == [(0, 12), (12, 24)]
    assert as_undisturbed(runs, undisturbed)
