"""What does not count is refused in a sentence and changes nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from tightfit.federated.contribution import Refused
from tightfit.federated.log import FederationLog
from tightfit.federated.service import answer
from tightfit.federated.simulation import Direct
from tightfit.federated.terms import UNITS

from .members import ROUNDS, client, contribution, terms, whole_round

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
