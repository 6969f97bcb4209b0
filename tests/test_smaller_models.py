"""A configuration may name smaller models: the first that the budget allows is trained, and the record says why."""

from pathlib import Path
from typing import Any

import pytest

from tightfit.records.record import RunRecord, read_run
from tightfit.run.session import build_task, carry_out

from .test_session import config

LENET = {"_target_": "tightfit.models.lenet5.lenet5", "name": "lenet5"}
SMALL = {"_target_": "tests.synthetic.straight_line", "name": "straight_line"}
RATE = {
    "_target_": "tightfit.optimizers.bp.Backprop",
    "name": "bp_sgd",
    "rule": {"_target_": "tightfit.optimizers.rules.sgd.SGD"},
    "lr": 0.25,
}


def offered(runs: Path, size: str, decided_by: str = "all_buffers_live", **changes: Any) -> dict[str, Any]:
    budget = {"_target_": "tightfit.memory.budget.MemoryBudget", "name": size, "size": size, "decided_by": decided_by}
    training = {"epochs": 1, "evaluations": 1, "batch_size": "largest", "batch_limit": 8}
    smaller = {"model": SMALL, "optimizer": RATE}
    return config(runs, model=LENET, memory_budget=budget, training=training, smaller=smaller, **changes)


@pytest.mark.parametrize("decided_by", ["all_buffers_live", "measured"])
def test_the_largest_model_that_fits_is_trained_by_its_own_rate(tmp_path: Path, decided_by: str) -> None:
    record = read_run(carry_out(offered(tmp_path, "300KB", decided_by)).folder)
    assert record is not None
    assert record.status == "finished"
    assert record.model["name"] == "straight_line"
    (passed_over,) = record.model["passed_over"]
    assert passed_over["name"] == "lenet5"
    assert passed_over["reason"].startswith("needs ")
    assert passed_over["reason"].endswith(f"(300KB, {decided_by})")
    assert build_task(record.config, RunRecord("", "", {})).optimizer.lr == 0.25  # ty: ignore[unresolved-attribute]


def never(classes: int, seed: int) -> None:
    raise AssertionError("built")


def test_nothing_smaller_is_built_where_the_largest_fits(tmp_path: Path) -> None:
    smaller = {"model": {"_target_": "tests.test_smaller_models.never", "name": "nothing"}}
    record = read_run(carry_out({**offered(tmp_path, "3MB"), "smaller": smaller}).folder)
    assert record is not None
    assert (record.status, record.model["name"], record.model["passed_over"]) == ("finished", "lenet5", [])


def test_where_none_fits_the_reason_is_of_the_smallest(tmp_path: Path) -> None:
    record = read_run(carry_out(offered(tmp_path, "2KB")).folder)
    assert record is not None
    assert (record.status, record.model["name"]) == ("over_budget", "straight_line")
    assert "of 1.953 KiB (2KB, all_buffers_live)" in record.reason


def test_smaller_models_may_have_smaller_ones(tmp_path: Path) -> None:
    nested = {"model": LENET, "smaller": {"model": SMALL, "optimizer": RATE}}
    record = read_run(carry_out({**offered(tmp_path, "300KB"), "smaller": nested}).folder)
    assert record is not None
    assert [larger["name"] for larger in record.model["passed_over"]] == ["lenet5", "lenet5"]
    assert record.model["name"] == "straight_line"
