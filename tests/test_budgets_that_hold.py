"""Methods that claim little and take much: each ends as over budget, and the sweep goes on without a limit."""

import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.budget import MemoryBudget
from tightfit.memory.table import LayerTable
from tightfit.optimizers.base import Batch, Learner, Objective, Report
from tightfit.optimizers.bp import Backprop, BackpropLearner
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.sgd import PLAIN, SGD
from tightfit.records.record import RunRecord, read_evals, read_run
from tightfit.run.loop import run
from tightfit.run.session import carry_out
from tightfit.run.task import Task, Training
from tightfit.tracking.local import LocalOnly

from .synthetic import bars
from .test_runner import task
from .test_session import config

MIB = 2**20


@dataclass(frozen=True)
class Liar(Backprop):
    """Claims a byte, and holds `hoard` more bytes from each step after the first `honest_steps`."""

    lr: float = 0.01
    rule: SGD = PLAIN
    hoard: int = 0
    honest_steps: int = 0

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        return Breakdown(parameters=1, activations=0)

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        return HoardingLearner(self, model, objective)


class HoardingLearner(BackpropLearner):
    def __init__(self, liar: Liar, model: nn.Module, objective: Objective) -> None:
        super().__init__(liar, model, objective, seed=0)
        self.liar, self.hoarded = liar, []

    def step(self, batch: Batch) -> Report:
        if batch.step >= self.liar.honest_steps:
            self.hoarded.append(torch.empty(self.liar.hoard, dtype=torch.uint8))
        return super().step(batch)


def budget(size: str, **options: Any) -> dict[str, Any]:
    return {"_target_": "tightfit.memory.budget.MemoryBudget", "name": "tight", "size": size, **options}


def lying(hoard: int, honest_steps: int) -> dict[str, Any]:
    target = f"{__name__}.Liar"
    return {"_target_": target, "name": "liar", "hoard": hoard, "honest_steps": honest_steps}


def ended(runs: Path, **changes: Any) -> tuple[RunRecord, list[dict[str, Any]]]:
    outcome = carry_out(config(runs, **changes))
    record = read_run(outcome.folder)
    assert record is not None
    assert record.status == outcome.status
    assert outcome.status != "failed"
    return record, read_evals(outcome.folder)


def assert_next_run_is_not_limited(runs: Path) -> None:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert resource.getrlimit(resource.RLIMIT_DATA) == unlimited
    torch.empty(1024 * MIB, dtype=torch.uint8)
    record, rows = ended(runs)
    assert record.status == "finished"
    assert len(rows) == 5


def test_lie_of_a_mebibyte_is_caught_by_the_exact_peak(tmp_path: Path) -> None:
    small = lying(hoard=MIB, honest_steps=0)
    record, rows = ended(tmp_path, optimizer=small, memory_budget=budget("3MiB", enforce=True))
    assert record.status == "over_budget"
    assert record.memory["measured_peak_bytes"] > 3 * MIB
    assert record.reason.endswith("MiB of 3 MiB (tight, measured)")
    assert rows == []
    honest, _ = ended(tmp_path, optimizer=lying(hoard=0, honest_steps=0), memory_budget=budget("3MiB", enforce=True))
    assert honest.status == "finished"
    assert honest.memory["enforced_baseline_bytes"] > 50 * MIB  # Python and PyTorch
    assert_next_run_is_not_limited(tmp_path)


def test_lie_too_large_to_be_measured_is_caught_by_the_limit(tmp_path: Path) -> None:
    huge = lying(hoard=1024 * MIB, honest_steps=0)
    record, rows = ended(tmp_path, optimizer=huge, memory_budget=budget("3MiB", enforce=True))
    assert record.status == "over_budget"
    assert record.reason.startswith("an allocation failed: the process may hold 3 MiB (tight, enforced)")
    assert "measured_peak_bytes" not in record.memory
    assert rows == []
    assert_next_run_is_not_limited(tmp_path)


def test_lie_is_found_in_a_rehearsal_without_being_held(tmp_path: Path) -> None:
    huge = lying(hoard=1024 * 1024 * MIB, honest_steps=0)
    record, rows = ended(tmp_path, optimizer=huge, memory_budget=budget("3MiB", decided_by="peak_live"))
    assert record.status == "over_budget"
    assert record.reason.endswith("of 3 MiB (tight, peak_live)")
    assert record.memory["peak_live_bytes"] > 2 * 1024 * 1024 * MIB
    assert "measured_peak_bytes" not in record.memory
    assert rows == []


def test_growth_after_the_throwaway_steps_is_caught_by_the_limit_and_evaluations_are_kept(tmp_path: Path) -> None:
    growing = lying(hoard=128 * MIB, honest_steps=7)
    record, rows = ended(tmp_path, optimizer=growing, memory_budget=budget("4MiB", enforce=True))
    assert record.status == "over_budget"
    assert record.memory["measured_peak_bytes"] < 4 * MIB
    assert "(tight, enforced)" in record.reason
    assert record.reason.endswith("of 24")
    assert [row["step"] for row in rows] in ([0, 6], [0, 6, 12])  # a heap with much free space gives a little more
    assert {path.name for path in (tmp_path / "scratch" / record.key).iterdir()} == {".lock", "run.json", "evals.jsonl"}
    assert_next_run_is_not_limited(tmp_path)


def test_liar_goes_unnoticed_where_the_budget_is_not_enforced(tmp_path: Path) -> None:
    record, _ = ended(tmp_path, optimizer=lying(hoard=MIB, honest_steps=0), memory_budget=budget("3MiB"))
    assert record.status == "finished"


def carried_out(optimizer: Any, budget: MemoryBudget, folder: Path, **training: Any) -> RunRecord:
    folder.mkdir(exist_ok=True)
    options = {"epochs": 1, "evaluations": 1, "batch_size": 16, **training}
    model = task(optimizer).model
    described = Task(optimizer, model, bars(), budget, Training(**options), 0, torch.device("cpu"))
    return run(described, RunRecord(key="k", experiment="e", config={}), folder, LocalOnly(), lambda *_: None)


METHODS = {"bp_sgd": Backprop(0.01, SGD()), "bp_adam": Backprop(1e-3, Adam()), "mezo": MeZO(1e-4, 1e-3)}
each_method = pytest.mark.parametrize("optimizer", METHODS.values(), ids=METHODS)


@each_method
def test_measured_accounting_allows_exactly_the_measured_peak(optimizer: Any, tmp_path: Path) -> None:
    peak = carried_out(optimizer, MemoryBudget("unlimited"), tmp_path / "any").memory["measured_peak_bytes"]
    for size, status in ((peak, "finished"), (peak - 1, "over_budget")):
        record = carried_out(optimizer, MemoryBudget("b", size, "measured"), tmp_path / status)
        assert record.status == status
        assert record.memory["measured_peak_bytes"] == peak


@each_method
def test_peak_live_allows_exactly_the_measured_peak_and_refuses_before_a_step(optimizer: Any, tmp_path: Path) -> None:
    peak = carried_out(optimizer, MemoryBudget("unlimited"), tmp_path / "any").memory["measured_peak_bytes"]
    fits = carried_out(optimizer, MemoryBudget("b", peak, "peak_live"), tmp_path / "fits")
    assert fits.status == "finished"
    assert fits.memory["peak_live_bytes"] == fits.memory["measured_peak_bytes"] == peak
    assert fits.memory["peak_live_inference_bytes"] == fits.memory["measured_inference_peak_bytes"]
    refused = carried_out(optimizer, MemoryBudget("b", peak - 1, "peak_live"), tmp_path / "refused")
    assert refused.status == "over_budget"
    assert refused.reason.endswith("(b, peak_live)")
    assert "measured_peak_bytes" not in refused.memory


@each_method
def test_enforced_budget_of_the_measured_peak_changes_no_weight(optimizer: Any, tmp_path: Path) -> None:
    free = carried_out(optimizer, MemoryBudget("unlimited"), tmp_path / "free")
    size = free.memory["measured_peak_bytes"]
    held = carried_out(optimizer, MemoryBudget("b", size, "measured", enforce=True), tmp_path / "held")
    assert held.status == "finished"
    assert held.summary["weights_sha256"] == free.summary["weights_sha256"]


@pytest.mark.parametrize("enforce", [False, True])
@pytest.mark.parametrize(
    ("accounting", "need"), [("measured", "measured_peak_bytes"), ("peak_live", "peak_live_bytes")]
)
def test_largest_batch_is_the_last_whose_peak_fits(accounting: str, need: str, enforce: bool, tmp_path: Path) -> None:
    optimizer, size = METHODS["mezo"], 1_000_000
    budget = MemoryBudget("b", size, accounting, enforce)
    chosen = carried_out(optimizer, budget, tmp_path / "largest", batch_size="largest").memory
    assert chosen["measured_peak_bytes"] <= size
    one_more = carried_out(optimizer, budget, tmp_path / "more", batch_size=chosen["batch_size"] + 1)
    assert one_more.status == "over_budget"
    assert one_more.memory[need] > size
