"""One device: catches up from the sums, steps on examples of its own, and sends seeds and slopes.

It keeps nothing between rounds. What it sends of a round is a function of its name, its examples and the round's state,
so that a client that was killed sends the same again, and a repeated delivery is one.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from http.client import HTTPException

import torch

from tightfit.datasets.batches import Batches, encoding_for
from tightfit.federated.contribution import Contribution
from tightfit.federated.service import Answer
from tightfit.federated.terms import DECIMALS, Replica, Terms, pool_of, terms_in, terms_of
from tightfit.numerics.seeds import derive, generator
from tightfit.optimizers.base import Batch
from tightfit.run.evaluate import cross_entropy
from tightfit.run.fitting import choose_batch_size, refusal
from tightfit.run.task import Task

Ask = Callable[[str, str, bytes], Answer]  # method, path, body
SECONDS_TO_ANSWER, SECONDS_BETWEEN_TRIES = 30.0, 2.0


class Client:
    """task: the method and the model of the federation, and the examples of this client.

    Raises ValueError when the service has other terms than `task`.
    """

    def __init__(self, name: str, task: Task, ask: Ask, replica: Replica | None = None) -> None:
        self.name, self._task, self._ask = name, task, ask
        self.terms = agreed_terms(task, ask)
        self._method = pool_of(task)
        self.replica = replica or Replica(task.model, self._method, self.terms)
        size = choose_batch_size(task, task.table)
        if over := refusal(task, task.table, size):
            raise ValueError(over)
        encode = encoding_for(task.model, task.dataset)
        self._batches = Batches(task.dataset, size, derive(task.seed, "client", name), task.device, encode)
        self.round, self.head = 0, ""

    @property
    def batch_size(self) -> int:
        return self._batches.batch_size

    @property
    def is_over(self) -> bool:
        return self.round >= self.terms.rounds

    def catch_up(self) -> None:
        """Take the weights of the round that is open. Raises ValueError for sums that are not those of their head."""
        said = json.loads(answered(self._ask("GET", "/sums", b"")))
        self.round, self.head = said["round"], said["head"]
        if self.terms.head(self.round, said["sums"]) != self.head:
            raise ValueError(f"the sums of round {self.round} are not those of its head; the service is damaged")
        self.replica.take(said["sums"])

    def contribution(self) -> Contribution:
        """Step from the weights of the round; those of the model are then the client's own.

        Raises ValueError where a loss is no number.
        """
        learner = self._method.bind(self.replica.model, cross_entropy, self.terms.seed)
        pool = self._method.perturbation(self.replica.model, self.terms.seed)
        seeds, slopes = [], []
        for step in range(self.terms.steps):
            number = derive(self.terms.seed, "client", self.name, self.round, step)  # no two clients' are the same
            batch = self._batches.batch(self.round * self.terms.steps + step)
            slope = learner.step(Batch(*batch, number, 0.0)).read().scalars["slope"]
            if slope != slope:
                raise ValueError(f"the loss of round {self.round} is no number; choose a lower optimizer.lr")
            seeds.append(pool.counter(number, 0))
            slopes.append(round(slope, DECIMALS))
        learner.resting_model()
        return Contribution(self.name, self.round, self.head, tuple(seeds), tuple(slopes))

    def send(self, contribution: Contribution) -> str:
        """Deliver it; why it came too late, or nothing. Raises ValueError where it can never count."""
        status, body = self._ask("POST", "/contributions", bytes(contribution))
        if status == 400:
            raise ValueError(f"the service refuses what {self.name} sent: {json.loads(body)['refused']}")
        if status == 409:
            return str(json.loads(body)["refused"])
        answered((status, body))
        return ""

    def take_part(self, tell: Callable[[str], None], wait: Callable[[float], None] = time.sleep) -> None:
        """Contribute to each round until the federation is over; the model has then its last weights."""
        self.catch_up()
        while not self.is_over:
            refused = self.send(self.contribution())
            tell(f"round {self.round}: {refused or 'accepted'}")
            while not refused and json.loads(answered(self._ask("GET", "/round", b"")))["head"] == self.head:
                wait(SECONDS_BETWEEN_TRIES)
            self.catch_up()


def agreed_terms(task: Task, ask: Ask) -> Terms:
    """The terms of the service. Raises ValueError where `task` is of another federation."""
    there = terms_in(answered(ask("GET", "/terms", b"")))
    here = terms_of(task, there.steps, there.contributions, there.rounds)
    if told := there.differs(here):
        raise ValueError(f"the federation is another one: {told}; join with the words that it is served with")
    return there


def answered(given: Answer) -> bytes:
    status, body = given
    if status != 200:
        raise OSError(f"the service answers {status}: {body.decode(errors='replace')[:200]}")
    return body


def over_http(url: str, patience: float, tell: Callable[[str], None]) -> Ask:
    """Asks the service at `url`, again and again for `patience` seconds when it cannot be reached or is in trouble.

    To ask again is safe: a contribution that was taken is acknowledged once more. Raises OSError after that.
    """

    def ask(method: str, path: str, body: bytes) -> Answer:
        end = time.monotonic() + patience
        while True:
            try:
                given = once(method, path, body)
                if given[0] < 500:
                    return given
                trouble = f"it answers {given[0]}"
            except (OSError, HTTPException) as error:
                trouble = str(error)
            if time.monotonic() >= end:
                raise OSError(
                    f"{url} cannot be reached ({trouble}); check url and that `tightfit federated serve` runs"
                )
            tell(f"{url} cannot be reached ({trouble}); trying again")
            time.sleep(SECONDS_BETWEEN_TRIES)

    def once(method: str, path: str, body: bytes) -> Answer:
        request = urllib.request.Request(url.rstrip("/") + path, data=body or None, method=method)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    return ask


def share_of(task: Task, number: int, shares: int) -> Task:
    """`task` with one of `shares` equal parts of its shuffled training examples, the `number`-th from 1."""
    train = task.dataset.train
    order = torch.randperm(len(train), generator=generator(task.seed, "shares"))
    return replace(task, dataset=replace(task.dataset, train=train[order[number - 1 :: shares]]))
