"""The processes that torchrun started for one run: two losses a direction go from each to all, and nothing else."""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import torch
import torch.distributed as dist

PATIENCE = timedelta(hours=6)  # for a worker that waits: the first evaluates while the others are a step ahead
ENDED, ON = 0.0, 1.0


class GroupEnded(Exception):
    """The first worker has ended the run."""


class WorkerLost(OSError):
    """A worker does not answer any more."""


def rank() -> int:
    """The number of this process among those that torchrun started; 0 where it started none."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


class Group:
    """The workers, each a process. The first decides when a run ends, and keeps its records.

    losses: that each has of a step. In a step each sends one message: whether the first goes on, now and then a digest
    of its weights, and its losses.
    """

    def __init__(self, losses: int) -> None:
        self.losses = losses
        self.bytes_sent = 0  # by this worker
        self._digest = 0.0

    def own(self, workers: int) -> Sequence[int]:
        return range(rank(), rank() + 1)

    def will_compare(self, digest: str) -> None:
        """With the next losses, compare this digest of the weights too."""
        self._digest = float(int(digest[:12], 16))  # 48 bits, which a float64 holds

    def together(self, losses: Sequence[float]) -> list[float]:
        """Raises GroupEnded when the first worker makes no more steps, ValueError where the weights of workers differ,
        WorkerLost when one does not answer."""
        digest, self._digest = self._digest, 0.0
        every = self._gather([ON, digest, *losses])
        if every[0][0] == ENDED:
            raise GroupEnded
        if any(one[1] != every[0][1] for one in every):
            raise ValueError(
                "the workers have different weights, so their losses are of different models; run all on one kind of "
                "machine, with the same versions"
            )
        return [loss for one in every for loss in one[2:]]

    def end(self) -> None:
        """Let the others, who wait with their losses of a step, make no more."""
        with suppress(WorkerLost):  # who was lost ends anyway
            self._gather([ENDED, 0.0, *[0.0] * self.losses])

    def _gather(self, numbers: Sequence[float]) -> list[list[float]]:
        own = torch.tensor(numbers, dtype=torch.float64)
        every = [torch.empty_like(own) for _ in range(world())]
        try:
            dist.all_gather(every, own)
        except RuntimeError as error:
            first = str(error).partition("\n")[0]
            raise WorkerLost(f"a worker was lost ({first}); run again to continue") from error
        self.bytes_sent += own.nbytes
        return [one.tolist() for one in every]


def joined(losses: int) -> Group:
    """The group, in which each worker has `losses` of a step.

    Raises WorkerLost when they cannot be reached.
    """
    # After a restart the store still knows the addresses of those that died, so each start has names of its own.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if dist.is_initialized():
        return Group(losses)
    try:
        store = dist.PrefixStore(f"attempt{attempt}", dist.TCPStore(*place, world(), is_master=False, timeout=PATIENCE))
        dist.init_process_group("gloo", store=store, rank=rank(), world_size=world(), timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)  # a process that ends with its threads running may abort
    except RuntimeError as error:
        raise WorkerLost(f"the workers cannot reach one another ({error})") from error
    return Group(losses)
