"""Budgets with flash: frozen weights are held there, in the need of a run and of a plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tightfit.commands import main
from tightfit.memory.budget import MemoryBudget
from tightfit.records.record import RunRecord, read_run
from tightfit.run.composed import composed
from tightfit.run.session import carry_out

DEVICE = "memory_budget=mcu_256kib_sram_1mib_flash"
SPARSE = ["adapter=sparse_update", "adapter.biases=3", "adapter.weights={fc1: 0.125, fc3: 1}"]


def test_a_budget_with_flash_holds_frozen_weights_there_as_far_as_it_has_room() -> None:
    budget = MemoryBudget("mcu", "256KiB", flash="1MiB")
    assert (budget.in_flash(1000), budget.in_flash(2**21)) == (1000, 2**20)
    assert MemoryBudget("plain", "256KiB").in_flash(1000) == 0
    with pytest.raises(ValueError, match=r"memory_budget.flash=1MiB is counted in all_buffers_live alone; choose"):
        MemoryBudget("mcu", "256KiB", "peak_live", flash="1MiB")


def outcome(runs: Path, *words: str) -> RunRecord:
    short = ["training.epochs=1", "training.evaluations=1", "tracker=local", f"paths.runs={runs}"]
    config = composed(["model=lenet5_qas", "optimizer=bp", DEVICE, *short, *words])
    config["dataset"] = {"_target_": "tests.synthetic.bars", "name": "bars"}
    record = read_run(carry_out(config).folder)
    assert record is not None
    return record


def test_a_run_whose_trained_weights_do_not_fit_the_memory_is_over_budget(tmp_path: Path) -> None:
    record = outcome(tmp_path, "training.batch_size=1")
    assert record.status == "over_budget"
    assert record.reason.startswith("needs 891 KiB of 256 KiB (mcu_256kib_sram_1mib_flash")
    assert record.memory["in_flash_bytes"] == 0


def test_a_run_that_trains_little_fits_with_the_rest_in_flash(tmp_path: Path) -> None:
    record = outcome(tmp_path, *SPARSE, "training.batch_size=largest")
    analytic, in_flash = record.memory["analytic"], record.memory["in_flash_bytes"]
    assert record.status == "finished"
    frozen_biases, trained_biases = 6 + 16, 120 + 84 + 10
    assert (in_flash - 4 * frozen_biases) + (analytic["gradients"] // 4 - trained_biases) == 107_550  # each weight once
    assert analytic["total"] > 256 * 1024 >= analytic["total"] - in_flash
    assert record.memory["batch_size"] > 1


def plan(capsys: Any, words: Sequence[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["plan", DEVICE, "optimizer=bp_sgd", "format=json", *words]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    return row


def test_a_plan_holds_in_flash_what_a_run_does(tmp_path: Path, capsys) -> None:
    record = outcome(tmp_path, *SPARSE, "training.batch_size=largest")
    row = plan(capsys, ["model=lenet5_qas", *SPARSE, "training.batch_size=1"])
    assert row["fits"]
    assert row["in_flash_bytes"] == record.memory["in_flash_bytes"]
    assert row["largest_batch"] == record.memory["batch_size"]
    assert not plan(capsys, ["model=lenet5_qas", "training.batch_size=1"])["fits"]
