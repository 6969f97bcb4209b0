"""Many clients in one process, and methods that make no federation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.synthetic import bars
from tightfit.federated.simulation import simulate
from tightfit.federated.terms import terms_of
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.schedules import StepDecay
from tightfit.optimizers.seed_pool import SeedPool
from tightfit.run.task import Task, Training

from .members import CONTRIBUTIONS, ROUNDS, STEPS, task


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
