"""Many unreliable clients in one process, against one central run that makes as many perturbations.

The log, its file and every body are those of a real federation; only the network between them is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from tightfit.datasets.batches import Batches, encoding_for
from tightfit.federated.client import Client, share_of
from tightfit.federated.contribution import Contribution
from tightfit.federated.log import FederationLog
from tightfit.federated.service import Answer, answer
from tightfit.federated.terms import Replica, Terms, pool_of, terms_of
from tightfit.numerics.seeds import derive
from tightfit.optimizers.base import Batch
from tightfit.optimizers.seed_pool import SeedPoolLearner
from tightfit.optimizers.shared import Sharing
from tightfit.run.checkpoint import weights_digest
from tightfit.run.evaluate import cross_entropy, score
from tightfit.run.task import Task

# What may become of a client in a round: it leaves with its work undone, comes when the round is over, sends twice,
# lies about a slope or about its state; or the server dies after the delivery.
FAULTS = ("leaves", "late", "twice", "slope", "head", "server")


@dataclass
class Direct:
    """Asks a log in the same process, and counts the bytes of bodies."""

    log: FederationLog
    sent: int = 0
    received: int = 0

    def __call__(self, method: str, path: str, body: bytes) -> Answer:
        given = answer(self.log, method, path, body)
        self.sent += len(body)
        self.received += len(given[1])
        return given

    def restart(self, path: Path) -> None:
        """Let the server die, and another one take its place."""
        terms = self.log.terms
        self.log.close()
        self.log = FederationLog(path, terms)


class RememberingReplica(Replica):
    """Takes the weights of one state for many clients, and computes them once."""

    _last: tuple[list[int], dict[str, Any]] | None = None

    def take(self, sums: Sequence[int]) -> None:
        if self._last is None or self._last[0] != sums:
            super().take(sums)
            weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
            self._last = list(sums), weights
        self.model.load_state_dict(self._last[1])


@dataclass
class Federation:
    """The clients, their service, and what became of their visits."""

    clients: list[Client]
    direct: Direct
    path: Path
    chances: Random
    faults: float
    visits: Counter[str] = field(default_factory=Counter)
    late: list[tuple[Client, Contribution]] = field(default_factory=list)

    def train(self) -> None:
        """Until the federation is over. Raises ValueError where everybody came and a round did not end."""
        terms = self.direct.log.terms
        while (number := self.direct.log.state()[0]) < terms.rounds:
            for client in self.chances.sample(self.clients, len(self.clients)):
                if self.direct.log.state()[0] > number:
                    break
                self.visit(client)
            else:
                raise ValueError(
                    f"round {number} lacks contributions though all {len(self.clients)} clients came; choose more "
                    "clients, or fewer contributions or faults"
                )
            for client, contribution in self.late:
                assert client.send(contribution), "a contribution to a round that is over was taken"
            self.late.clear()

    def visit(self, client: Client) -> None:
        fate = self.chances.choice(FAULTS) if self.chances.random() < self.faults else "well"
        self.visits[fate] += 1
        client.catch_up()
        if fate == "leaves":
            return
        contribution = client.contribution()
        if fate == "late":
            self.late.append((client, contribution))
        elif fate == "slope":
            slopes = (2 * client.terms.clip, *contribution.slopes[1:])
            self.direct("POST", "/contributions", bytes(replace(contribution, slopes=slopes)))
        elif fate == "head":
            self.direct("POST", "/contributions", bytes(replace(contribution, head="0" * 32)))
        else:
            client.send(contribution)
            if fate == "server":
                self.direct.restart(self.path)
            if fate == "twice":
                client.send(contribution)


def simulate(
    build: Callable[[], Task], path: Path, clients: int, rounds: int, contributions: int, steps: int, faults: float
) -> dict[str, Any]:
    """The numbers of a federation whose log is written to `path`, and of its central twin, as a row.

    build: the task, each time with a model of its own at its first weights.
    Raises ValueError for settings that make no federation, and where a client that catches up has other weights.
    """
    task = build()
    terms = terms_of(task, steps, contributions, rounds)
    if clients < contributions:
        raise ValueError(f"clients={clients} but a round has contributions={contributions}, one of each; choose more")
    untrained = accuracy(task)
    replica = RememberingReplica(task.model, pool_of(task), terms)
    direct = Direct(FederationLog(path, terms))
    try:
        members = [
            Client(f"client{number}", share_of(task, number, clients), direct, replica)
            for number in range(1, clients + 1)
        ]
        direct.received = 0  # terms are asked for once, not in each round
        federation = Federation(members, direct, path, Random(derive(task.seed, "faults")), faults)
        federation.train()
        visits = federation.visits.total()
        bytes_up, bytes_down = direct.sent / visits, direct.received / visits
        members[0].catch_up()
        newcomer = build()
        Client("newcomer", newcomer, direct).catch_up()
        if weights_digest(newcomer.model) != weights_digest(task.model):
            raise ValueError("a client that caught up has other weights than the others; report this")
        return {
            "model": type(task.model).__name__,
            "dataset": task.dataset.name,
            "seed": task.seed,
            "clients": clients,
            "rounds": rounds,
            "contributions": contributions,
            "steps": steps,
            "pool": terms.pool,
            "lr": terms.lr,
            "faults": faults,
            "perturbations": rounds * contributions * steps,
            "visits": visits,
            **{f"visits_{fate}": federation.visits[fate] for fate in FAULTS},
            "refused": " ".join(f"{kind}:{times}" for kind, times in direct.log.refusals().items()),
            "bytes_up": round(bytes_up, 1),
            "bytes_down": round(bytes_down, 1),
            "accuracy_before": untrained,
            "accuracy": accuracy(newcomer),
            "accuracy_central": accuracy(central(build(), terms, members[0].batch_size)),
        }
    finally:
        direct.log.close()


def central(task: Task, terms: Terms, batch_size: int) -> Task:
    """`task` trained on all examples, with as many perturbations of as many examples each, averaged as in a round."""
    method = replace(pool_of(task), queries=terms.contributions, restore="exact")
    learner = method.bind(task.model, cross_entropy, terms.seed)
    assert isinstance(learner, SeedPoolLearner)
    learner.share(Sharing(terms.contributions))  # each perturbation has a batch of its own, as each client's has
    size, encode = batch_size * terms.contributions, encoding_for(task.model, task.dataset)
    batches = Batches(task.dataset, size, terms.seed, task.device, encode)
    for step in range(terms.rounds * terms.steps):
        learner.step(Batch(*batches.batch(step), step, 0.0))
    learner.resting_model()
    return task


def accuracy(task: Task) -> float:
    return score(task.model, task.dataset.test, encoding_for(task.model, task.dataset)).accuracy
