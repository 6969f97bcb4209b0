"""Which processes made a run: every session is on record with its code, its machine and its steps."""

from pathlib import Path

import pytest

from tests.rewritten import rewritten
from tightfit.datasets.dataset import DataUnavailable
from tightfit.records.record import read_run
from tightfit.run.session import carry_out

from .killing import killed_at_second_checkpoint
from .test_session import config


def test_every_session_of_a_run_is_on_record_with_its_commit_its_machine_and_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_of(day: int, cpu: str) -> None:
        monkeypatch.setattr("tightfit.run.attempt.now", lambda: f"2026-01-0{day}")
        monkeypatch.setattr("tightfit.run.attempt.commit", lambda: (f"commit {day}", day == 2))
        monkeypatch.setattr("tightfit.run.session.describe_machine", lambda _: {"cpu": cpu})

    def unavailable(**_: object) -> None:
        raise DataUnavailable("gone")

    as_of(1, "one")
    with monkeypatch.context() as patch, killed_at_second_checkpoint():
        patch.setattr("tightfit.run.attempt.write_end", lambda *_: None)
        carry_out(config(tmp_path))
    as_of(2, "two")
    with monkeypatch.context() as patch:
        patch.setattr("tests.synthetic.bars", unavailable)
        carry_out(config(tmp_path))
    as_of(3, "three")
    record = read_run(carry_out(config(tmp_path)).folder)
    assert record is not None
    assert (record.started_at, record.commit, record.machine["cpu"]) == ("2026-01-01", "commit 3", "three")
    told = ("started_at", "commit", "dirty", "status", "from_step", "to_step")
    assert [tuple(session.get(name) for name in told) for session in record.sessions] == [
        ("2026-01-01", "commit 1", False, "running", 0, 12),
        ("2026-01-02", "commit 2", True, "failed", None, None),
        ("2026-01-03", "commit 3", False, "finished", 12, 24),
    ]
    assert [session["machine"].get("cpu") for session in record.sessions] == ["one", "two", "three"]
    assert [("last_seen" in session, "ended_at" in session) for session in record.sessions] == [
        (True, False),
        (False, True),
        (False, True),
    ]


def test_a_run_made_again_from_its_beginning_started_when_it_was_and_no_earlier_session_has_work_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (1, 2):
        monkeypatch.setattr("tightfit.run.attempt.now", lambda day=day: f"2026-01-0{day}")
        with killed_at_second_checkpoint() as saves:
            carry_out(config(tmp_path))
    saves[0].unlink()
    monkeypatch.setattr("tightfit.run.attempt.now", lambda: "2026-01-03")
    record = read_run(carry_out(config(tmp_path)).folder)
    assert record is not None
    assert record.started_at == "2026-01-03"
    assert [(session["from_step"], session["to_step"]) for session in record.sessions] == [(0, 0), (0, 0), (0, 24)]


def test_a_record_from_before_there_were_sessions_is_read_and_continued(tmp_path: Path) -> None:
    with killed_at_second_checkpoint() as saves:
        carry_out(config(tmp_path))
    with rewritten(saves[0].parent) as content:
        del content["sessions"], content["evaluations"]
        content["commit"] = "old"
    record = read_run(carry_out(config(tmp_path)).folder)
    assert record is not None
    assert [session["commit"] for session in record.sessions] == ["old", record.commit]
    assert record.sessions[0]["to_step"] == 12
