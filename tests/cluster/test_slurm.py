"""Sweeps as jobs of Slurm: the runs of all cores, bit for bit, and one that is preempted goes on where it was."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tightfit.records.record import RunRecord, read_evals, read_run

from .slurm import obstacle, slurm

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(obstacle()), reason=obstacle())]
SMALL = ["dataset._target_=tests.synthetic.bars", "tracker=local", "training.evaluations=4", "training.batch_size=16"]
ON_SLURM = ["hydra/launcher=slurm", "hydra.launcher.mem_gb=2", "hydra.launcher.timeout_min=30"]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, str]]:
    with slurm(tmp_path_factory.mktemp("slurm")) as said:
        yield {**os.environ, **said, "PYTHONPATH": os.pathsep.join(["src", "."]), "OMP_NUM_THREADS": "1"}


def sweep(there: dict[str, str], runs: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tightfit", "run", "-m", *SMALL, f"paths.runs={runs}", *words]
    return subprocess.Popen(command, env=there, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def ended(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    return said


def records(runs: Path) -> dict[str, RunRecord]:
    found = {path.name: read_run(path) for path in (runs / "scratch").iterdir() if path.is_dir()}
    return {name: record for name, record in found.items() if record is not None}


def digests(runs: Path) -> dict[str, str]:
    return {name: record.summary["weights_sha256"] for name, record in records(runs).items()}


def test_jobs_end_with_the_weights_of_runs_on_this_machine(there: dict[str, str], tmp_path: Path) -> None:
    words = ["optimizer=mezo,bp_sgd", "seed=0,1", "training.epochs=4"]
    ended(sweep(there, tmp_path / "slurm", *words, *ON_SLURM))
    ended(sweep(there, tmp_path / "here", *words, "hydra/launcher=all_cores"))
    assert len(digests(tmp_path / "here")) == 4
    assert digests(tmp_path / "slurm") == digests(tmp_path / "here")


def test_a_preempted_job_is_begun_again_and_ends_as_if_undisturbed(there: dict[str, str], tmp_path: Path) -> None:
    words = ["optimizer=mezo", "training.epochs=2000", "training.evaluations=20"]
    process = sweep(there, tmp_path / "slurm", *words, *ON_SLURM)
    until(lambda: len(evaluations(tmp_path / "slurm")) >= 2)
    subprocess.run(["sbatch", "-p", "urgent", "-c2", "--mem=1G", "--wrap", "sleep 5"], check=True, env=there)
    until(lambda: any(record.status == "interrupted" for record in records(tmp_path / "slurm").values()))
    until(lambda: is_pending(there))
    (job,) = subprocess.run(["squeue", "-h", "-o", "%A"], capture_output=True, text=True, env=there).stdout.split()[:1]
    subprocess.run(["scontrol", "update", f"jobid={job}", "StartTime=now"], env=there)  # which else waits two minutes
    ended(process)
    (record,) = records(tmp_path / "slurm").values()
    assert record.status == "finished"
    assert len(record.sessions) == 2
    ended(sweep(there, tmp_path / "here", *words))
    assert digests(tmp_path / "slurm") == digests(tmp_path / "here")


def evaluations(runs: Path) -> list[object]:
    return [row for path in (runs / "scratch").glob("*") if path.is_dir() for row in read_evals(path)]


def is_pending(there: dict[str, str]) -> bool:
    states = subprocess.run(["squeue", "-h", "-o", "%T"], capture_output=True, text=True, env=there).stdout.split()
    return "PENDING" in states and "COMPLETING" not in states


def until(holds: object, seconds: float = 200) -> None:
    assert callable(holds)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return
        time.sleep(0.5)
    raise AssertionError("it did not come to that in time")
