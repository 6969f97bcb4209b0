"""Clients that join, leave, repeat, lie and die train one model; whoever has the sums has its weights, bit for bit."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.synthetic import bars, straight_line
from tightfit.federated import client as client_module
from tightfit.federated.client import Client, over_http, share_of
from tightfit.federated.contribution import Contribution, Refused
from tightfit.federated.log import FederationLog
from tightfit.federated.service import answer, server
from tightfit.federated.simulation import Direct, simulate
from tightfit.federated.terms import UNITS, Replica, Terms, added, terms_of
from tightfit.memory.budget import MemoryBudget
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.schedules import StepDecay
from tightfit.optimizers.seed_pool import SeedPool
from tightfit.run.checkpoint import weights_digest
from tightfit.run.task import Task, Training

METHOD = SeedPool(0.01, 1e-3, 5.0, pool=16)
ROUNDS, CONTRIBUTIONS, STEPS = 3, 2, 2


def task(method: Any = METHOD, seed: int = 3) -> Task:
    data, training = bars(), Training(epochs=1.0, batch_size=4)
    budget = MemoryBudget("unlimited")
    return Task(method, straight_line(10, seed), data, budget, training, seed, torch.device("cpu"))


def terms() -> Terms:
    return terms_of(task(), STEPS, CONTRIBUTIONS, ROUNDS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "federation.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[FederationLog]:
    opened = FederationLog(path, terms())
    yield opened
    opened.close()


def client(name: str, direct: Any) -> Client:
    """A new process of a client, as far as it could tell."""
    joined = Client(name, task(), direct)
    joined.catch_up()
    return joined


def contribution(log: FederationLog, name: str = "a", **changes: Any) -> bytes:
    plain = Contribution(name, log.round, log.head, (1, 2), (0.5, -0.25))
    return json.dumps({**json.loads(bytes(plain)), **changes}).encode()


def whole_round(log: FederationLog) -> None:
    for name in ("a", "b"):
        assert log.accept(contribution(log, name))


def weights(sums: list[int]) -> str:
    fresh = task()
    Replica(fresh.model, METHOD, terms()).take(sums)
    return weights_digest(fresh.model)


def test_a_client_that_comes_late_has_the_weights_of_those_that_were_there_bit_for_bit(log: FederationLog) -> None:
    """Who was there stepped, and caught up after each round; who comes late takes all rounds at once."""
    members = [client(name, Direct(log)) for name in ("a", "b")]
    while not members[0].is_over:
        for member in members:
            assert member.send(member.contribution()) == ""
        for member in members:
            member.catch_up()
    late = client("late", Direct(log))
    digests = {weights_digest(member.replica.model) for member in (*members, late)}
    assert digests == {weights(log.sums)}
    assert digests != {terms().base}


def test_the_sums_of_one_client_move_the_weights_as_its_own_steps_did(path: Path) -> None:
    """Up to the decimals that are sent, and the order of roundings."""
    alone = replace(terms(), contributions=1, rounds=1, steps=20)
    log = FederationLog(path, alone)
    member = client("a", Direct(log))
    before = torch.cat([parameter.detach().flatten().clone() for parameter in member.replica.model.parameters()])
    sent = member.contribution()
    stepped = torch.cat([parameter.detach().flatten().clone() for parameter in member.replica.model.parameters()])
    assert member.send(sent) == ""
    member.catch_up()
    summed = torch.cat([parameter.detach().flatten() for parameter in member.replica.model.parameters()])
    assert (summed - stepped).norm() < 1e-3 * (summed - before).norm()
    log.close()


def test_sums_are_the_same_in_any_order() -> None:
    drawn = random.Random(0)
    moves = [(drawn.randrange(4), drawn.uniform(-5, 5)) for _ in range(1000)]
    sums = added([0] * 4, moves)
    drawn.shuffle(moves)
    assert added([0] * 4, moves) == sums
    assert added([0] * 4, [(2, 0.5)]) == [0, 0, UNITS // 2, 0]


def test_a_repeated_delivery_counts_once_even_when_its_round_is_over(log: FederationLog) -> None:
    first = contribution(log)
    assert log.accept(first)
    before = log.state()
    assert not log.accept(first)
    assert log.state() == before
    assert log.accept(contribution(log, "b"))
    ended = log.state()
    assert ended[0] == 1
    assert not log.accept(first)
    assert log.state() == ended
    assert log.refusals() == {}


def test_a_client_that_died_before_it_was_answered_sends_the_same_again(log: FederationLog) -> None:
    sent = client("a", Direct(log)).contribution()
    assert log.accept(bytes(sent))
    again = client("a", Direct(log)).contribution()
    assert bytes(again) == bytes(sent)
    assert not log.accept(bytes(again))


def test_clients_take_directions_and_examples_of_their_own(log: FederationLog) -> None:
    sent = [client(name, Direct(log)).contribution() for name in ("a", "b")]
    assert sent[0].slopes != sent[1].slopes
    shares = [share_of(bars(), number, 3, 0).train for number in (1, 2, 3)]
    assert sum(len(share) for share in shares) == 96
    everything = torch.cat([share.inputs for share in shares]).flatten(1)
    assert len(everything.unique(dim=0)) == len(bars().train.inputs.flatten(1).unique(dim=0))


REFUSED: dict[str, tuple[dict[str, Any], str, str, int]] = {
    "an old round": ({"round": 0}, "round", "round 0 is not open, 1 is; catch up by GET /sums", 409),
    "a round to come": ({"round": 2}, "round", "round 2 is not open, 1 is; catch up by GET /sums", 409),
    "another head": ({"head": "0" * 32}, "head", "head 000000000000 is not that of round 1, ", 409),
    "beyond the clip": ({"slopes": [0.5, -5.1]}, "slope", "slope -5.1 is beyond the clip; bound it to ±5", 400),
    "a huge number": ({"slopes": [0.5, 10**400]}, "slope", "is beyond the clip; bound it to ±5", 400),
    "not a number": ({"slopes": [0.5, float("nan")]}, "slope", "slope nan is not finite; lower the rate", 400),
    "infinite": ({"slopes": [0.5, float("-inf")]}, "slope", "slope -inf is not finite; lower the rate", 400),
    "a text": ({"slopes": [0.5, "1"]}, "form", "slope '1' is no number; send one", 400),
    "a truth": ({"slopes": [0.5, True]}, "form", "slope True is no number; send one", 400),
    "past the pool": ({"seeds": [0, 16]}, "seed", "seed 16 is not in the pool; choose 0 to 15", 400),
    "before the pool": ({"seeds": [0, -1]}, "seed", "seed -1 is not in the pool; choose 0 to 15", 400),
    "half a seed": ({"seeds": [0, 0.5]}, "seed", "seed 0.5 is not in the pool; choose 0 to 15", 400),
    "too few slopes": ({"slopes": [0.5]}, "form", "seeds and slopes are no lists of one length", 400),
    "no step": ({"seeds": [], "slopes": []}, "form", "0 steps but a round has 1 to 2 of a client", 400),
    "too many steps": ({"seeds": [1] * 3, "slopes": [1] * 3}, "form", "3 steps but a round has 1 to 2", 400),
    "no name": ({"client": "../a"}, "form", "client is no name; write 1 to 64 letters", 400),
    "no round": ({"round": "1"}, "form", "round is no whole number from 0 to 3; send that of GET /sums", 400),
    "a round past the last": ({"round": 10**30}, "form", "round is no whole number from 0 to 3; send that", 400),
    "no head": ({"head": None}, "form", "head is no name of a state; send that of GET /sums", 400),
    "half a letter": ({"head": "\ud800" * 32}, "form", "head is no name of a state; send that of GET /sums", 400),
    "one field more": ({"weight": 2}, "form", "the body is no JSON object of client, round, head, seeds, slopes", 400),
}


@pytest.mark.parametrize("wrong", REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_contribution_is_refused_in_a_sentence_recorded_and_changes_nothing(
    wrong: tuple[dict[str, Any], str, str, int], log: FederationLog
) -> None:
    changes, kind, message, status = wrong
    whole_round(log)
    before = log.state()
    with pytest.raises(Refused) as refused:
        log.accept(contribution(log, **{"client": "liar", **changes}))
    assert message in str(refused.value)
    given = answer(log, "POST", "/contributions", contribution(log, **{"client": "liar", **changes}))
    assert (given[0], json.loads(given[1])) == (status, {"refused": str(refused.value)})
    assert log.refusals() == {kind: 2}
    assert log.state() == before
    whole_round(log)  # the place is still free


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000], ids=["none", "cut", "list", "bytes", "deep"]
)
def test_a_body_that_is_no_contribution_is_refused(body: bytes, log: FederationLog) -> None:
    assert answer(log, "POST", "/contributions", body)[0] == 400
    assert log.refusals() == {"form": 1}


def test_who_sends_other_numbers_for_a_round_is_refused_and_the_first_count(log: FederationLog) -> None:
    assert log.accept(contribution(log))
    with pytest.raises(Refused, match="other numbers came for round 0 before; the first count"):
        log.accept(contribution(log, slopes=[0.5, 0.5]))
    assert log.refusals() == {"changed": 1}
    log.accept(contribution(log, "b"))
    assert log.sums[1:3] == [UNITS, -UNITS // 2]


def test_a_federation_that_is_over_takes_nothing_and_lets_who_wants_catch_up(log: FederationLog) -> None:
    for _ in range(ROUNDS):
        whole_round(log)
    with pytest.raises(Refused, match="the federation is over after 3 rounds; GET /sums"):
        log.accept(contribution(log))
    assert client("late", Direct(log)).is_over


def test_a_round_that_too_few_come_to_ends_when_patience_does(path: Path) -> None:
    now = [0.0]
    log = FederationLog(path, terms(), patience=60, clock=lambda: now[0])
    now[0] = 100.0
    assert log.state()[0] == 0  # nobody came: nothing to end
    log.accept(contribution(log))
    assert log.state()[0] == 1
    log.accept(contribution(log))
    assert log.state()[0] == 1
    now[0] = 160.0
    state = log.state()
    assert state[0] == 2
    log.close()
    again = FederationLog(path, terms())
    assert again.state() == state
    again.close()


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


@pytest.fixture
def url(log: FederationLog) -> Iterator[str]:
    serving = server(log, "127.0.0.1", 0)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_address[1]}"
    serving.shutdown()
    serving.server_close()
    thread.join()


def test_clients_on_threads_of_their_own_train_over_http_to_the_same_weights(
    url: str, log: FederationLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "SECONDS_BETWEEN_TRIES", 0.01)
    members = [
        Client(name, task(), over_http(url, 10, print)) for name in ("a", "b", "c")
    ]  # one of whom comes too late
    told: list[str] = []
    threads = [threading.Thread(target=member.take_part, args=(told.append,)) for member in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {weights_digest(member.replica.model) for member in members} == {weights(log.sums)}
    assert sum(line.endswith("accepted") for line in told) >= ROUNDS * CONTRIBUTIONS
    assert log.refusals().keys() <= {"round"}


@pytest.mark.parametrize(("length", "status"), [("-1", 413), ("9" * 20, 413), ("x", 413), ("0", 400)])
def test_a_body_of_no_or_of_too_great_a_length_is_refused_before_it_is_read(length: str, status: int, url: str) -> None:
    from http.client import HTTPConnection

    connection = HTTPConnection(url.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", "/contributions")
    connection.putheader("Content-Length", length)
    connection.endheaders()
    assert connection.getresponse().status == status
    connection.close()


def test_an_address_that_is_not_served_is_told_with_those_that_are(log: FederationLog) -> None:
    status, body = answer(log, "GET", "/weights")
    assert (status, json.loads(body)["refused"]) == (
        404,
        "GET /weights is not served; choose GET /terms, /round, /sums",
    )


def test_a_client_of_another_federation_is_told_in_what(log: FederationLog) -> None:
    for other, said in {
        replace(METHOD, lr=0.02): "lr is 0.01 there and 0.02 here",
        replace(METHOD, pool=8): "pool is 16 there and 8 here",
    }.items():
        with pytest.raises(ValueError, match=f"the federation is another one: {said}; join with the words"):
            Client("a", task(other), Direct(log))
    with pytest.raises(ValueError, match=r"another one: base is \w+ there and \w+ here"):
        Client("a", task(seed=4), Direct(log))


def test_sums_that_were_changed_on_the_way_are_not_taken(log: FederationLog) -> None:
    whole_round(log)

    def changing(method: str, path: str, body: bytes) -> tuple[int, bytes]:
        status, given = answer(log, method, path, body)
        return status, given.replace(b'"sums":[0', b'"sums":[1')

    with pytest.raises(ValueError, match="the sums of round 1 are not those of its head; the service is damaged"):
        client("a", changing)


def test_what_is_no_service_is_told(log: FederationLog) -> None:
    with pytest.raises(ValueError, match="these are no terms of a federation"):
        client("a", lambda *_: (200, b"<html>"))
    with pytest.raises(OSError, match="the service answers 404"):
        client("a", lambda *_: (404, b"nothing here"))
    with pytest.raises(OSError, match=r"http://127.0.0.1:9 cannot be reached .*; check url and that"):
        client("a", over_http("http://127.0.0.1:9", 0, print))


def test_a_client_whose_contribution_can_never_count_stops(log: FederationLog) -> None:
    member = client("a", Direct(log))
    with pytest.raises(ValueError, match=r"the service refuses what a sent: slope 9\.0 is beyond the clip"):
        member.send(replace(member.contribution(), slopes=(9.0, 0.0)))


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


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (MeZO(0.01, 1e-3), "adds up slopes along a pool of seeds; choose optimizer=seed_pool"),
        (SeedPool(0.01, 1e-3), "optimizer.clip is infinite, so nothing bounds what one client does; write a number"),
        (SeedPool(0.01, 1e-3, 5.0, queries=2), "queries=2 but a client sends one slope a step"),
        (SeedPool(StepDecay(0.1, 0.5, 1.0), 1e-3, 5.0), "optimizer.lr has a schedule, but clients share no epochs"),
    ],
    ids=["mezo", "unbounded", "queries", "schedule"],
)
def test_a_method_whose_steps_are_no_sums_is_refused(method: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        terms_of(task(method), STEPS, CONTRIBUTIONS, ROUNDS)


NUMBERS: dict[str, Any] = {"clients": 100, "rounds": 4, "contributions": 5, "steps": 2}


def few() -> Task:
    """The same with one example a step: each of a hundred clients has few."""
    data = bars(count=200)
    return replace(task(), dataset=data, training=Training(epochs=1.0, batch_size=1))


def test_a_hundred_clients_with_faults_train_as_many_perturbations_as_were_asked_for(tmp_path: Path) -> None:
    row = simulate(few, tmp_path / "a.sqlite", **NUMBERS, faults=0.6)
    assert row["perturbations"] == 4 * 5 * 2
    counted = {kind: int(times) for kind, _, times in (each.partition(":") for each in row["refused"].split())}
    for kind, fate in {"slope": "slope", "head": "head", "round": "late"}.items():
        assert counted.get(kind, 0) == row[f"visits_{fate}"] > 0
    assert row["visits_server"] > 0
    assert row["visits_twice"] > 0
    useless = sum(row[f"visits_{fate}"] for fate in ("leaves", "late", "slope", "head"))
    assert row["visits"] - useless == 4 * 5
    assert 0 < row["bytes_up"] < 300


def test_a_simulation_repeats(tmp_path: Path) -> None:
    first, again = (simulate(few, tmp_path / f"{number}.sqlite", **NUMBERS, faults=0.5) for number in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clients": 4}, "clients=4 but a round has contributions=5, one of each; choose more"),
        ({"clients": 5, "faults": 0.9}, "round 0 lacks contributions though all 5 clients came; choose more"),
    ],
)
def test_a_simulation_that_cannot_end_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(few, tmp_path / "a.sqlite", **{**NUMBERS, "faults": 0.0, **changes})
