"""Nothing that was acknowledged is lost, and a log that is damaged is not trained on."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tightfit.federated.client import over_http
from tightfit.federated.log import FederationLog
from tightfit.federated.service import answer
from tightfit.run.checkpoint import weights_digest

from .members import client, contribution, terms, whole_round


def test_a_server_that_restarts_stands_where_it_stood_within_a_round_and_between_two(path: Path) -> None:
    log, states = FederationLog(path, terms()), []
    bodies = []
    for name in ("a", "b", "a", "b"):
        bodies.append(contribution(log, name))
        log.accept(bodies[-1])
        states.append(log.state())
        log.close()
        log = FederationLog(path, terms())
        assert log.state() == states[-1]
        assert not any(log.accept(body) for body in bodies)
    log.close()
    whole = FederationLog(path.with_name("whole.sqlite"), terms())
    whole_round(whole)
    whole_round(whole)
    assert whole.state() == states[-1]
    whole.close()


def test_what_cannot_be_written_is_neither_acknowledged_nor_counted(log: FederationLog) -> None:
    before = log.state()
    log._db.execute("PRAGMA query_only=ON")  # as on a disk that is full
    status, body = answer(log, "POST", "/contributions", contribution(log))
    assert status == 503
    assert json.loads(body)["refused"].endswith("send it again later")
    log._db.execute("PRAGMA query_only=OFF")
    assert log.state() == before
    assert log.accept(contribution(log))


SERVE = """
import sys
from pathlib import Path
from tests.federated.test_federated import terms
from tightfit.federated.log import FederationLog
from tightfit.federated.service import server
serving = server(FederationLog(Path(sys.argv[1]), terms()), "127.0.0.1", 0)
print(serving.server_address[1], flush=True)
serving.serve_forever()
"""


def started(path: Path) -> tuple[subprocess.Popen[str], str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."])}
    words = [sys.executable, "-c", SERVE, str(path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    return process, f"http://127.0.0.1:{process.stdout.readline().strip()}"


def test_what_a_killed_server_acknowledged_is_there_when_another_one_starts(path: Path) -> None:
    process, url = started(path)
    try:
        member = client("a", over_http(url, 0, print))
        sent = member.contribution()
        assert member.send(sent) == ""
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout and process.stdout.close()
        process, url = started(path)
        other = client("b", over_http(url, 0, print))
        assert other.send(other.contribution()) == ""
        other.catch_up()
        assert other.round == 1
        restarted = client("a", over_http(url, 0, print))
        assert restarted.send(sent) == ""  # acknowledged once more
        assert weights_digest(restarted.replica.model) == weights_digest(other.replica.model)
    finally:
        process.kill()
        process.wait()
        process.stdout and process.stdout.close()


def spoiled(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file of SQLite's": (lambda path: path.write_bytes(b"x" * 5000), "is no log of a federation"),
    "a round lost": (lambda path: spoiled(path, "DELETE FROM rounds WHERE round = 0"), "round 1 does not add up"),
    "the last round lost": (
        lambda path: spoiled(path, "DELETE FROM rounds WHERE round = 1"),
        "the end of round 1 is lost; put the whole file back",
    ),
    "all rounds lost": (lambda path: spoiled(path, "DELETE FROM rounds"), "the end of round 0 is lost"),
    "one contribution lost": (
        lambda path: spoiled(path, "DELETE FROM contributions WHERE round = 0 AND client = 'a'"),
        "round 0 does not add up; put the whole file back",
    ),
    "a body cut": (
        lambda path: spoiled(path, "UPDATE contributions SET body = X'7B'"),
        "is damaged: in round 0 the body",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_log_is_refused_and_not_trained_on(
    damage: Callable[[Path], object], message: str, path: Path
) -> None:
    log = FederationLog(path, terms())
    whole_round(log)
    whole_round(log)
    log.close()
    for beside in path.parent.glob("*-wal"):
        beside.unlink()
    damage(path)
    for _ in range(2):  # the lock was given back
        with pytest.raises(ValueError, match=message):
            FederationLog(path, terms())


def test_a_log_has_one_server_and_one_federation(log: FederationLog, path: Path) -> None:
    with pytest.raises(ValueError, match="is served by another process; stop it, or name another log"):
        FederationLog(path, terms())
    log.close()
    with pytest.raises(
        ValueError, match=r"is of another federation \(steps is 2 there and 9 here\); say the same words"
    ):
        FederationLog(path, replace(terms(), steps=9))
