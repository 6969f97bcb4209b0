"""What is asked of CUDA's allocator, by an allocator made of numbers; with a GPU, of the true one."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from tightfit.memory import enforcement
from tightfit.memory.budget import MemoryBudget, OverBudget
from tightfit.memory.enforcement import SLACK_BYTES, Limit
from tightfit.memory.measured import LiveBytes, Peak, _measure_on_cuda
from tightfit.models.lenet5 import lenet5
from tightfit.optimizers.base import Batch
from tightfit.optimizers.mezo import MeZO
from tightfit.run import measurement

MIB = 2**20
TOTAL = 1024 * MIB


@dataclass
class Allocator:
    """Stands in for `torch.cuda`; refuses, as that does, a device without its number where a limit is set."""

    allocated: int = 3 * MIB
    peak: int = 0
    fraction: float = 1.0

    def current_device(self) -> int:
        return 1

    def get_device_properties(self, device: torch.device) -> SimpleNamespace:
        return SimpleNamespace(total_memory=TOTAL)

    def set_per_process_memory_fraction(self, fraction: float, device: torch.device) -> None:
        if device.index is None:
            raise ValueError(f"Expected a torch.device with a specified index or an integer, but got: {device}")
        self.fraction = fraction

    def memory_allocated(self, device: torch.device) -> int:
        return self.allocated

    def max_memory_allocated(self, device: torch.device) -> int:
        return self.peak

    def max_memory_reserved(self, device: torch.device) -> int:
        return 2 * self.peak

    memory_reserved = memory_allocated

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.peak = self.allocated

    def empty_cache(self) -> None: ...

    def synchronize(self, device: torch.device) -> None: ...


@pytest.fixture
def allocator(monkeypatch: pytest.MonkeyPatch) -> Allocator:
    stand_in = Allocator()
    for name in (name for name in dir(Allocator) if not name.startswith("_")):
        monkeypatch.setattr(torch.cuda, name, getattr(stand_in, name), raising=False)
    monkeypatch.setattr(enforcement, "_start_libraries", lambda device: None)
    return stand_in


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_budget_is_enforced_on_a_device_named_with_and_without_its_number(device: str, allocator: Allocator) -> None:
    with Limit(MemoryBudget("tight", "64MiB", enforce=True), torch.device(device)):
        assert allocator.fraction == (3 * MIB + 64 * MIB + SLACK_BYTES) / TOTAL
    assert allocator.fraction == 1.0


def test_measured_bytes_are_those_of_tensors_and_what_is_more_is_workspace(allocator: Allocator) -> None:
    weights = torch.zeros(MIB)
    live = LiveBytes([weights], [])

    def work(live: LiveBytes) -> None:
        with live:
            torch.zeros(2 * MIB)
        allocator.peak = allocator.allocated + 8 * MIB + 1000

    peak = _measure_on_cuda(work, live, torch.device("cuda:0"))
    assert peak.bytes == 12 * MIB + 1000
    assert sum(peak.by_kind.values()) == peak.bytes
    assert peak.by_kind["workspaces"] == 1000


def test_what_libraries_take_at_their_first_use_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = [Peak(36, {}), Peak(2, {})]
    monkeypatch.setattr(measurement, "measure", lambda *_, **__: peaks.pop(0))
    inputs = SimpleNamespace(is_cuda=True, device=torch.device("cpu"))
    limit = Limit(MemoryBudget("unlimited"), torch.device("cpu"))
    found = measurement.training_peak(MeZO(1e-4, 1e-3), lenet5(10, 0), Batch(inputs, inputs, 0, 0.0), 0, limit)
    assert found.tensors.bytes == 2


@pytest.mark.cuda
def test_measured_peak_of_a_gpu_is_that_of_its_tensors_within_their_rounding() -> None:
    batch = Batch(torch.zeros(32, 1, 28, 28, device="cuda"), torch.zeros(32, dtype=torch.int64, device="cuda"), 0, 0.0)
    limit = Limit(MemoryBudget("unlimited"), batch.inputs.device)
    found = measurement.training_peak(MeZO(1e-4, 1e-3), lenet5(10, 0), batch, 0, limit).tensors
    assert sum(found.by_kind.values()) == found.bytes
    assert found.by_kind["workspaces"] < MIB


@pytest.mark.cuda
def test_enforced_budget_holds_on_a_gpu() -> None:
    limit = Limit(MemoryBudget("tight", "64MiB", enforce=True), torch.device("cuda"))
    with pytest.raises(OverBudget), limit:
        torch.zeros(256 * MIB, device="cuda")
