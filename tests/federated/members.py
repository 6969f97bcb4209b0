"""A small federation: its method and terms, its clients, and what they send."""

import json
from typing import Any

import torch

from tests.synthetic import bars, straight_line
from tightfit.federated.client import Client
from tightfit.federated.contribution import Contribution
from tightfit.federated.log import FederationLog
from tightfit.federated.terms import Replica, Terms, terms_of
from tightfit.memory.budget import MemoryBudget
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
