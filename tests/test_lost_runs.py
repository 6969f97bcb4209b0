"""Runs whose process died: what is said of them, and that they are not taken for running."""

from pathlib import Path

import pytest

from analysis.load import load_runs
from tightfit.records.record import FINAL, KILLED, RunRecord, Status, read_run, read_standing, write_run
from tightfit.run.attempt import Outcome, record_loss
from tightfit.run.holding import only_process_in
from tightfit.run.keys import run_folder
from tightfit.run.session import carry_out

from .test_session import config


@pytest.mark.parametrize(
    ("exit_code", "reason"),
    [
        (-9, "its process was killed (signal 9), perhaps for memory; run again to continue"),
        (-11, "its process was killed (signal 11); run again to continue"),
        (3, "its process ended with exit status 3; run again to continue"),
    ],
)
@pytest.mark.parametrize("before", [None, "running", "interrupted"])
def test_a_lost_run_is_recorded_as_failed_with_how_it_died(
    before: Status | None, exit_code: int, reason: str, tmp_path: Path
) -> None:
    lost = config(tmp_path)
    if before is not None:
        folder = run_folder(lost)
        write_run(folder, RunRecord(folder.name, "scratch", lost, before, started_at="2026-01-01", commit="abc"))
    outcome = record_loss(lost, exit_code)
    record = read_run(run_folder(lost))
    assert record is not None
    assert (record.config, record.status, record.reason) == (lost, "failed", reason)
    assert outcome == Outcome("failed", run_folder(lost), reason)
    assert record.commit == ("" if before is None else "abc")


@pytest.mark.parametrize("ended", FINAL)
def test_a_run_that_had_ended_before_its_process_died_is_not_lost(ended: Status, tmp_path: Path) -> None:
    folder = run_folder(config(tmp_path))
    write_run(folder, RunRecord(folder.name, "scratch", config(tmp_path), ended, "a reason"))
    assert record_loss(config(tmp_path), -9) == Outcome(ended, folder, "a reason")


def test_a_lost_run_that_another_process_goes_on_with_keeps_its_record(tmp_path: Path) -> None:
    folder = run_folder(config(tmp_path))
    write_run(folder, RunRecord(folder.name, "scratch", config(tmp_path)))
    with only_process_in(folder, "this"):
        assert record_loss(config(tmp_path), -9).status == "failed"
        assert read_run(folder) == read_standing(folder) == RunRecord(folder.name, "scratch", config(tmp_path))


def test_a_lost_run_is_made_when_it_is_asked_for_again(tmp_path: Path) -> None:
    record_loss(config(tmp_path), -9)
    assert carry_out(config(tmp_path)).status == "finished"


def test_a_run_that_no_process_makes_is_not_running_in_tables(tmp_path: Path) -> None:
    folder = run_folder(config(tmp_path))
    write_run(folder, RunRecord(folder.name, "scratch", config(tmp_path)))
    with only_process_in(folder, "this"):
        (held,) = load_runs(tmp_path, "scratch").runs["status"]
    (left,) = load_runs(tmp_path, "scratch").runs["reason"]
    assert (held, left) == ("running", KILLED)
