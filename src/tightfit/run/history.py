"""Which processes made a run, a session each: its code and its machine, and the steps that were its work.

A session whose process was killed has no end on record, but when something was last seen of it. One that ended before
it took up training, such as by data that cannot be had, has no steps.
"""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Any

from tightfit.records.record import EVALS, RunRecord


def begin_session(record: RunRecord, before: RunRecord | None, folder: Path) -> None:
    """Open a session of the run in `folder`, which has `before` on record."""
    record.sessions = [dict(session) for session in earlier(before)] if before else []
    if record.sessions and "ended_at" not in record.sessions[-1]:
        record.sessions[-1]["last_seen"] = last_seen(folder)
    record.sessions.append(described(record))


def earlier(before: RunRecord) -> list[dict[str, Any]]:
    """The sessions on record; records had none before there were sessions, and then say of the last one alone."""
    return before.sessions or [{**described(before), "from_step": 0}]


def described(record: RunRecord) -> dict[str, Any]:
    names = ("started_at", "commit", "dirty", "machine", "status")
    return {name: getattr(record, name) for name in names}


def last_seen(folder: Path) -> str:
    """When the last evaluation in `folder` was written, or else the record."""
    path = folder / EVALS if (folder / EVALS).exists() else folder / "run.json"
    return at(path.stat().st_mtime)


def take_up(record: RunRecord, step: int) -> None:
    """Note that the session trains from `step` on: what others did after it is made again, and no work of theirs."""
    if not record.sessions:
        return
    *others, current = record.sessions
    trained = [session for session in others if "from_step" in session]
    for session in trained:
        session["from_step"] = min(session["from_step"], step)
        session["to_step"] = min(session.get("to_step", step), step)
    if trained:
        trained[-1]["to_step"] = step
    current |= {"machine": record.machine, "from_step": step, "to_step": step}
    begun = [session for session in trained if session["to_step"] > session["from_step"]]
    record.started_at = (begun or [current])[0]["started_at"]


def end_session(record: RunRecord, step: int | None = None) -> None:
    """Note how the session ended, and at which step if it trained."""
    if record.sessions:
        record.sessions[-1] |= {**described(record), "started_at": record.sessions[-1]["started_at"], "ended_at": now()}
        if step is not None:
            record.sessions[-1]["to_step"] = step


def now() -> str:
    return at(time.time())


def at(seconds: float) -> str:
    """The time `seconds` after the epoch, as ISO 8601 in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
