"""A step shared among workers: each probes directions of its own on examples of its own, and all get every loss.

Directions come from counters, so losses are all that workers have to tell one another: every worker applies every
direction, in the same order, and their weights stay equal bit for bit without being sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Protocol

import torch

from tightfit.optimizers.base import Batch, Objective, Optimizer, is_noted, note

Loss = float | torch.Tensor


class Exchange(Protocol):
    """What one process does of a step, and how it gets what the others did."""

    def own(self, workers: int) -> Sequence[int]:
        """The workers that this process is, in order."""
        ...

    def together(self, losses: Sequence[float]) -> list[float]:
        """The losses of all workers, in their order, of which those of `own` are `losses`."""
        ...


class InTurn:
    """One process that is every worker."""

    def own(self, workers: int) -> Sequence[int]:
        return range(workers)

    def together(self, losses: Sequence[float]) -> list[float]:
        return list(losses)


@dataclass(frozen=True)
class Sharing:
    """How a step is shared. The directions of worker w are those numbered from w times as many as each has."""

    workers: int = 1
    exchange: Exchange = field(default_factory=InTurn)

    def losses(
        self, batch: Batch, queries: int, objective: Objective, probe: Callable[[Batch, int], Sequence[Loss]]
    ) -> list[Loss]:
        """The losses that `probe` gives for each of `queries` directions, all workers', in order."""
        each = queries // self.workers
        # A log that gives losses back has those of all workers.
        mine = range(self.workers) if is_noted(objective) else self.exchange.own(self.workers)
        losses: list[Loss] = []
        for worker in mine:
            part = part_of(batch, worker, self.workers)
            for query in range(worker * each, (worker + 1) * each):
                losses += probe(part, query)
        if len(mine) == self.workers:
            return losses
        every = self.exchange.together([float(loss) for loss in losses])
        note(objective, every[len(losses) :])  # the worker that keeps a log is the first
        return list(every)


def for_workers(optimizer: Optimizer, workers: int) -> Optimizer:
    """The method of all `workers` together, each with as many directions as `optimizer` has.

    Raises ValueError for a method without directions, or with a fixed number of them.
    """
    if workers == 1:
        return optimizer
    queries = getattr(optimizer, "queries", None)
    if queries is None or not is_dataclass(optimizer) or isinstance(optimizer, type):
        raise ValueError(
            "distributed=zo shares the directions of a step, and this method has none; choose optimizer=mezo"
        )
    try:
        return replace(optimizer, queries=queries * workers)
    except ValueError as error:
        raise ValueError(
            f"distributed=zo makes {queries * workers} directions a step for {workers} workers, but this method takes "
            f"no such number ({error}); choose optimizer=mezo"
        ) from error


def part_of(batch: Batch, worker: int, workers: int) -> Batch:
    """The examples of `worker`: as many as every other's, one after another."""
    inputs, labels = (tensor.chunk(workers)[worker] for tensor in (batch.inputs, batch.labels))
    return replace(batch, inputs=inputs, labels=labels)
