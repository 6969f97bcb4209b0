"""Clients that join, leave, repeat, lie and die train one model; whoever has the sums has its weights, bit for bit."""

import random
from dataclasses import replace
from pathlib import Path

import torch

from tests.synthetic import bars
from tightfit.federated.client import share_of
from tightfit.federated.log import FederationLog
from tightfit.federated.simulation import Direct
from tightfit.federated.terms import UNITS, added
from tightfit.run.checkpoint import weights_digest

from .members import client, contribution, task, terms, weights


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
    shares = [share_of(task(), number, 3).dataset.train for number in (1, 2, 3)]
    assert sum(len(share) for share in shares) == 96
    everything = torch.cat([share.inputs for share in shares]).flatten(1)
    assert len(everything.unique(dim=0)) == len(bars().train.inputs.flatten(1).unique(dim=0))
