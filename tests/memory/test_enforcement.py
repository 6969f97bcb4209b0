import errno
import resource
import sys

import pytest
import torch

from tightfit.memory.budget import MemoryBudget, OverBudget
from tightfit.memory.enforcement import SLACK_BYTES, Limit, is_exhaustion, limiter_for

CPU = torch.device("cpu")
MIB = 2**20
BUDGET = MemoryBudget("tight", "64MiB", enforce=True)


def allowed() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_DATA)


def test_what_the_budget_allows_can_be_held() -> None:
    with Limit(BUDGET, CPU):
        assert len([torch.ones(8 * MIB // 4) for _ in range(8)]) == 8


def test_more_than_budget_and_slack_cannot_be_held_and_the_limit_is_gone_afterwards() -> None:
    before = allowed()
    limit = Limit(BUDGET, CPU)
    with pytest.raises(OverBudget, match=r"may hold 64 MiB \(tight, enforced\) and 32 MiB of slack"), limit:
        torch.ones((64 * MIB + SLACK_BYTES + 256 * MIB) // 4)
    assert allowed() == before
    torch.empty(512 * MIB)


def test_python_objects_are_limited_like_tensors() -> None:
    with pytest.raises(OverBudget), Limit(BUDGET, CPU):
        bytearray(1024 * MIB)


def test_other_errors_pass_and_lift_the_limit() -> None:
    before = allowed()
    with pytest.raises(RuntimeError, match="another fault"), Limit(BUDGET, CPU):
        raise RuntimeError("another fault")
    assert allowed() == before


def test_memory_freed_outside_of_the_limit_is_not_held_against_what_follows() -> None:
    limit = Limit(BUDGET, CPU)
    outside = [torch.ones(8 * MIB // 4) for _ in range(64)]
    del outside
    limit.renew()
    with limit:
        torch.ones(56 * MIB // 4)


def test_memory_held_since_is_counted() -> None:
    limit = Limit(BUDGET, CPU)
    held = torch.empty(1024 * MIB, dtype=torch.uint8)
    limit.renew()
    with pytest.raises(OverBudget), limit:
        torch.empty(256 * MIB, dtype=torch.uint8)
    assert held.numel() == 1024 * MIB


def test_what_was_held_before_takes_from_the_budget_when_it_is_part_of_it() -> None:
    budget = MemoryBudget("large", "1GiB", enforce=True)
    held = torch.empty(1024 * MIB, dtype=torch.uint8)
    limit = Limit(budget, CPU)
    with limit:
        torch.empty(512 * MIB, dtype=torch.uint8)
    limit.renew(resident=held.numel())
    with pytest.raises(OverBudget), limit:
        torch.empty(512 * MIB, dtype=torch.uint8)


def test_budget_that_is_not_enforced_limits_nothing() -> None:
    before = allowed()
    with Limit(MemoryBudget("tight", "1MiB"), CPU):
        assert allowed() == before


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
        RuntimeError("std::bad_alloc"),
        torch.OutOfMemoryError("CUDA out of memory."),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_allocators_words_for_no_memory_are_understood(error: Exception) -> None:
    assert is_exhaustion(error)


@pytest.mark.parametrize("error", [ValueError("bad"), RuntimeError("shapes"), OSError(errno.ENOSPC, "disk full")])
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not is_exhaustion(error)


@pytest.mark.parametrize("enforce", [True, False])
def test_what_onednn_says_of_many_faults_means_memory_where_that_is_limited(enforce: bool) -> None:
    with (
        pytest.raises(OverBudget if enforce else RuntimeError, match="may hold" if enforce else "primitive"),
        Limit(MemoryBudget("tight", "64MiB", enforce=enforce), CPU),
    ):
        raise RuntimeError("could not create a primitive")


def test_systems_that_cannot_limit_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ValueError, match=r"enforce=true cannot limit a process on darwin; use Linux"):
        limiter_for(CPU)
