"""Steps that several workers share: equal to the same steps by hand, by one process, and by processes that die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tightfit.models.lenet5 import lenet5
from tightfit.optimizers.base import Batch
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.shared import Sharing
from tightfit.optimizers.zeroth_order import ZerothOrderLearner, slopes_of
from tightfit.records.record import read_run
from tightfit.run import group as processes
from tightfit.run.checkpoint import REPLAY_LOG, weights_digest
from tightfit.run.evaluate import cross_entropy
from tightfit.run.group import Group, GroupEnded, WorkerLost
from tightfit.run.replay import rebuild
from tightfit.run.session import carry_out

from .test_session import config

MEZO = {
    "_target_": "tightfit.optimizers.mezo.MeZO",
    "name": "mezo",
    "lr": 1e-3,
    "eps": 1e-3,
    "clip": 1.0,
    "queries": 1,
    "restore": "exact",
}
TRAINING = {"epochs": 10, "evaluations": 3, "batch_size": 8, "keep": "losses"}


def shared(runs: Path, workers: int | None = 2, **changes: Any) -> dict[str, Any]:
    distributed = None if workers is None else {"name": "zo", "workers": workers}
    return config(runs, **{"optimizer": MEZO, "training": TRAINING, "distributed": distributed, **changes})


def digest_of(runs: Path) -> str:
    (path,) = runs.glob("scratch/*")
    record = read_run(path)
    assert record is not None
    assert record.status == "finished", record.reason
    return record.summary["weights_sha256"]


def learner(queries: int) -> ZerothOrderLearner:
    bound = MeZO(1e-3, 1e-3, 1.0, queries=queries, restore="exact").bind(lenet5(10, 0), cross_entropy, seed=3)
    assert isinstance(bound, ZerothOrderLearner)
    return bound


def test_a_shared_step_is_that_of_each_workers_directions_on_its_own_examples() -> None:
    inputs, labels = torch.randn(8, 1, 28, 28), torch.arange(8)
    together, by_hand = learner(queries=4), learner(queries=4)
    together.share(Sharing(workers=2))
    for step in range(3):
        batch = Batch(inputs, labels, step, epoch=0.0)
        together.step(batch)
        halves = [Batch(inputs[:4], labels[:4], step, 0.0), Batch(inputs[4:], labels[4:], step, 0.0)]
        losses = [loss for query in range(4) for loss in by_hand._losses(halves[query // 2], 1e-3, query)]
        by_hand._update(1e-3, slopes_of(losses, 1e-3, 1.0), batch)
    assert weights_digest(together.resting_model()) == weights_digest(by_hand.resting_model())


def test_one_worker_does_what_a_run_does_that_shares_nothing(tmp_path: Path) -> None:
    carry_out(shared(tmp_path / "one", workers=1))
    carry_out(shared(tmp_path / "none", workers=None))
    assert digest_of(tmp_path / "one") == digest_of(tmp_path / "none")


def test_weights_are_rebuilt_from_the_losses_of_all_workers(tmp_path: Path) -> None:
    outcome = carry_out(shared(tmp_path))
    assert weights_digest(rebuild(outcome.folder)) == digest_of(tmp_path)


def torchrun(file: Path, *words: str, restarts: int = 0) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", f"--max-restarts={restarts}", "--nproc-per-node=2"]
    there = {"PYTHONPATH": os.pathsep.join(["src", ".", os.environ.get("PYTHONPATH", "")]), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, *command, "tests/distributed_worker.py", str(file), *words],
        check=True,
        timeout=300,
        env={**os.environ, **there},
    )


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", [None, 17], ids=["undisturbed", "killed"])
def test_two_processes_end_with_the_weights_and_losses_of_one(killed_at: int | None, tmp_path: Path) -> None:
    one = carry_out(shared(tmp_path / "one"))
    file = tmp_path / "config.json"
    file.write_text(json.dumps(shared(tmp_path / "two")))
    torchrun(file, *([] if killed_at is None else [str(killed_at)]), restarts=1)
    assert digest_of(tmp_path / "two") == digest_of(tmp_path / "one")
    two = tmp_path / "two" / "scratch" / one.folder.name  # the number of processes is not what is computed
    assert (two / REPLAY_LOG).read_bytes() == (one.folder / REPLAY_LOG).read_bytes()
    record = read_run(two)
    assert record is not None
    assert len(record.sessions) == (1 if killed_at is None else 2)
    if killed_at is None:
        assert record.summary["bytes_sent_by_each"] == 8 * (2 + 2) * record.summary["steps"]


BACKPROP = {
    "_target_": "tightfit.optimizers.bp.Backprop",
    "name": "bp_sgd",
    "rule": {"_target_": "tightfit.optimizers.rules.sgd.SGD"},
    "lr": 0.05,
}
ELASTIC = {
    **{name: value for name, value in MEZO.items() if name != "queries"},
    "_target_": "tightfit.optimizers.elastic_zo.ElasticZO",
    "name": "elastic_zo",
    "bp_layers": 1,
    "bp_lr": 0.05,
}


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (BACKPROP, "shares the directions of a step, and this method has none; choose optimizer=mezo"),
        (ELASTIC, "makes 2 directions a step for 2 workers, but this method takes no such number"),
        ({**MEZO, "restore": "merged"}, "choose optimizer.restore=exact"),
    ],
)
def test_a_method_that_cannot_be_shared_is_refused_in_a_sentence(
    optimizer: dict[str, Any], said: str, tmp_path: Path
) -> None:
    outcome = carry_out(shared(tmp_path, optimizer=optimizer))
    assert outcome.status == "failed"
    assert said in outcome.reason


@pytest.mark.parametrize(
    ("distributed", "said"),
    [
        ({"name": "zo", "workers": 0}, "distributed.workers=0 is no whole number from 1"),
        ({"name": "zo", "workers": 2, "rank": 0}, "distributed.rank"),
        ("zo", "distributed=zo has no settings"),
    ],
)
def test_impossible_workers_are_refused_in_a_sentence(distributed: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        carry_out(shared(tmp_path, distributed=distributed))


def test_another_number_of_processes_than_workers_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="workers=2 but torchrun started 3 processes"):
        carry_out(shared(tmp_path))


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """What the first of two workers says, to be set; the second is this process."""
    said: list[list[float]] = []

    def all_gather(every: list[torch.Tensor], own: torch.Tensor) -> None:
        if not said:
            raise RuntimeError("Connection closed by peer\nand more")
        every[0].copy_(torch.tensor(said.pop(0), dtype=torch.float64))
        every[1].copy_(own)

    monkeypatch.setattr(processes.dist, "all_gather", all_gather)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    return said


def gathered(group: Group, losses: Sequence[float] = (3.0, 4.0)) -> list[float]:
    return group.together(losses)


def test_losses_come_in_the_order_of_the_workers(heard: list[list[float]]) -> None:
    heard.append([processes.ON, 0.0, 1.0, 2.0])
    assert gathered(Group(2)) == [1.0, 2.0, 3.0, 4.0]


def test_weights_that_differ_stop_the_run(heard: list[list[float]]) -> None:
    group = Group(2)
    group.will_compare("ab" * 32)
    heard.append([processes.ON, float(0xABABABABABAC), 1.0, 2.0])
    with pytest.raises(ValueError, match="the workers have different weights"):
        gathered(group)


def test_the_first_worker_ends_the_steps_of_all(heard: list[list[float]]) -> None:
    heard.append([processes.ENDED, 0.0, 0.0, 0.0])
    with pytest.raises(GroupEnded):
        gathered(Group(2))


def test_a_worker_that_does_not_answer_is_told_in_a_line(heard: list[list[float]]) -> None:
    assert heard == []
    with pytest.raises(WorkerLost, match=r"a worker was lost \(Connection closed by peer\); run again to continue"):
        gathered(Group(2))
