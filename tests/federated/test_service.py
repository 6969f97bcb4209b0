"""The service over HTTP, and clients that it cannot serve."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tightfit.federated import client as client_module
from tightfit.federated.client import Client, over_http
from tightfit.federated.log import FederationLog
from tightfit.federated.service import answer, server
from tightfit.federated.simulation import Direct
from tightfit.run.checkpoint import weights_digest

from .members import CONTRIBUTIONS, METHOD, ROUNDS, client, task, weights, whole_round


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
