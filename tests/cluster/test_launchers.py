"""Launchers of other machines, tried without any: by submitit's processes here, and where a package is missing."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import CompactHydraException

from hydra_plugins.tightfit_launcher.cluster import Elsewhere, Ray, exports, needed
from tightfit.commands import main
from tightfit.launch.elsewhere import Resumable, outcome_of
from tightfit.launch.reproduce import launched
from tightfit.records.record import read_run
from tightfit.run import loop
from tightfit.run.session import carry_out

from ..test_session import config


def test_reproduce_tells_a_launcher_how_many_runs_go_at_a_time_where_it_wants_to_know() -> None:
    assert launched("all_cores", 2) == ["hydra/launcher=all_cores", "hydra.launcher.n_jobs=2"]
    assert launched("slurm", 20) == ["hydra/launcher=slurm", "hydra.launcher.array_parallelism=20"]
    assert launched("slurm", None) == ["hydra/launcher=slurm"]
    assert launched("ray", 20) == ["hydra/launcher=ray"]


def test_an_unknown_launcher_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "elasticzo/table1", "launcher=slrm", "profile=smoke"]) == 2
    assert "choose all_cores, ray, slurm, stacked" in capsys.readouterr().out


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(
        CompactHydraException, match=r"needs submitit, which is missing; pip install 'tightfit\[slurm\]'"
    ):
        needed("submitit", extra="slurm")


def test_a_job_is_told_what_its_machine_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIGHTFIT_CACHE", "/a place/with blanks")
    assert "export TIGHTFIT_CACHE='/a place/with blanks'" in exports(2)
    assert exports(2)[-1] == "export OMP_NUM_THREADS='2'"


def test_a_run_elsewhere_answers_in_words(tmp_path: Path) -> None:
    assert outcome_of(config(tmp_path), ["seed=0"]) == ("finished", "")
    (folder,) = (tmp_path / "scratch").iterdir()
    record = read_run(folder)
    assert record is not None
    assert record.command == ["seed=0"]
    status, reason = outcome_of(config(tmp_path, threads=0), [])
    assert (status, "threads=0" in reason) == ("failed", True)


def test_a_job_that_died_fails_alone() -> None:
    launcher = Ray(None, 1, 0)
    launcher.jobs, launcher.first = [["seed=0"]], 0

    def dies() -> tuple[str, str]:
        raise RuntimeError("job 7 was killed\nout of memory")

    answer = Elsewhere.told(launcher, 0, dies)
    assert answer.status.name == "FAILED"
    assert str(answer._return_value) == "job 7 was killed out of memory"


def test_a_job_is_put_into_the_queue_again_with_its_words() -> None:
    submitit = pytest.importorskip("submitit")
    again = Resumable().checkpoint({"seed": 0}, ["seed=0"])
    assert isinstance(again, submitit.helpers.DelayedSubmission)


def test_a_job_that_is_told_to_end_answers_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stepping = loop.Run.train_one_step

    def step(run: loop.Run) -> bool:
        signal.raise_signal(signal.SIGTERM)
        return stepping(run)

    monkeypatch.setattr(loop.Run, "train_one_step", step)
    monkeypatch.setattr("tightfit.run.interruption.Interruption.process_is_stopping", False)
    assert Resumable()(config(tmp_path), []) == ("failed", "stopped on request at step 1 of 24; run again to continue")


class Requeued(SystemExit):
    """What a scheduler's client ends a job with."""


class OutOfTime(Exception):
    """What it raises where a job has run out of time too often."""


OF_CLIENT = [
    (Requeued(-1), Requeued, "stopped to be begun again elsewhere"),
    (OutOfTime("timed-out too many times."), KeyboardInterrupt, "timed-out too many times; run again to continue"),
]


@pytest.mark.parametrize(("answer", "ends_by", "reason"), OF_CLIENT)
def test_a_run_is_saved_before_its_job_is_put_into_the_queue_again_or_is_not(
    answer: BaseException, ends_by: type[BaseException], reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Any] = []

    def requeue(*_: object) -> None:
        (folder,) = (tmp_path / "scratch").iterdir()
        seen.append((folder / "checkpoint.pt").exists())
        raise answer

    stepping = loop.Run.train_one_step

    def step(run: loop.Run) -> bool:
        if run.position.step == 5 and not seen:
            signal.raise_signal(signal.SIGUSR2)
        return stepping(run)

    monkeypatch.setattr(loop.Run, "train_one_step", step)
    monkeypatch.setattr("tightfit.run.interruption.Interruption.process_is_stopping", False)
    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        with pytest.raises(ends_by):
            carry_out(config(tmp_path))
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert seen == [True]
    (folder,) = (tmp_path / "scratch").iterdir()
    record = read_run(folder)
    assert record is not None
    assert (record.status, record.reason) == ("interrupted", reason)
    monkeypatch.setattr("tightfit.run.interruption.Interruption.process_is_stopping", False)
    assert carry_out(config(tmp_path)).status == "finished"
