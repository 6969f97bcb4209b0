"""A budget that holds: the process itself is kept from growing, so that a method which claims too little dies of it.

On Linux the data segment (heap, private mappings, thread stacks) is limited by RLIMIT_DATA; allocations beyond it fail
in the allocator, and the process goes on. Interpreter and libraries take and keep pages of their own, so the limit
allows `SLACK_BYTES` more than the budget: it holds budgets of hundreds of MiB, and budgets of a few MiB only against
gross growth. The byte-exact peak of the throwaway steps (`measured.py`) is the finer of the two sieves.

On CUDA the caching allocator is limited to a fraction of the device's memory; the context is outside of it, and so is
the workspace that the libraries keep from their first product on.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

import torch

from tightfit.memory.budget import MemoryBudget, OverBudget, readable

# Scratch of the libraries, code compiled at first use, arenas of the interpreter: what no tensor of a step holds.
SLACK_BYTES = 32 * 2**20
# How allocators say that there is no memory left, where they raise a plain RuntimeError.
EXHAUSTED = ("can't allocate memory", "not enough memory", "bad_alloc", "out of memory")
# How oneDNN says it, which says the same of other faults: so it is believed only where a limit is set.
PERHAPS_EXHAUSTED = ("could not create a primitive", "could not execute a primitive")


class Limiter(Protocol):
    """How one kind of memory is limited."""

    def in_use(self) -> int:
        """Bytes held now, without what was freed."""
        ...

    def freed(self) -> int:
        """Bytes that were freed and cannot be given back: they are still the process's."""
        ...

    def set(self, most: int) -> None:
        """Let allocations fail that would make the process hold more than `most` bytes."""
        ...

    def lift(self) -> None:
        """Restore what was before the first `set`."""
        ...


class Limit:
    """While active, the process holds at most the budget and the slack beyond what it held when this was made.

    Leaving it by an allocation that failed raises OverBudget instead. A budget that is not enforced limits nothing.
    """

    def __init__(self, budget: MemoryBudget, device: torch.device) -> None:
        self._budget = budget
        self._limiter = limiter_for(device) if budget.enforce else None
        self._baseline = self._limiter.in_use() if self._limiter else 0
        self._most = 0
        self.renew()

    @property
    def baseline_bytes(self) -> int:
        """What the process held when this was made, which the budget is not for; 0 where nothing is limited."""
        return self._baseline

    def renew(self, resident: int = 0) -> None:
        """Count anew after work outside of the limit, which leaves freed memory behind.

        resident: bytes held when this was made that are part of what the budget is for.
        """
        if self._limiter:
            allowed = (self._budget.bytes or 0) - resident + SLACK_BYTES
            self._most = self._baseline + allowed + self._limiter.freed()

    def __enter__(self) -> None:
        if self._limiter:
            self._limiter.set(self._most)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._limiter:
            self._limiter.lift()
            if error is not None and (is_exhaustion(error) or says(error, PERHAPS_EXHAUSTED)):
                raise OverBudget(
                    f"an allocation failed: the process may hold {readable(self._budget.bytes or 0)} "
                    f"({self._budget.name}, enforced) and {readable(SLACK_BYTES)} of slack"
                ) from error


def is_exhaustion(error: BaseException) -> bool:
    """Whether `error` is an allocator's way of saying that there is no memory left."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError):
        return isinstance(error, torch.OutOfMemoryError) or says(error, EXHAUSTED)
    return isinstance(error, MemoryError)


def says(error: BaseException, words: Sequence[str]) -> bool:
    return isinstance(error, RuntimeError) and any(each in str(error) for each in words)


def limiter_for(device: torch.device) -> Limiter:
    """Raises ValueError where memory cannot be limited."""
    if device.type == "cuda":
        return AllocatorLimiter(device)
    if sys.platform != "linux":
        raise ValueError(
            f"memory_budget.enforce=true cannot limit a process on {sys.platform}; use Linux or leave it out"
        )
    return DataLimiter()


class DataLimiter:
    """Limits the data segment of this process (setrlimit(2), RLIMIT_DATA)."""

    def __init__(self) -> None:
        import resource  # of Unix alone

        self._resource = resource
        self._before = resource.getrlimit(resource.RLIMIT_DATA)
        _start_libraries("cpu")

    def in_use(self) -> int:
        freed = self.freed()  # first: it gives back
        return _data_bytes() - freed

    def freed(self) -> int:
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc; others give back by themselves
        if trim is not None:
            trim(0)
        return _free_heap_bytes()

    def set(self, most: int) -> None:
        soft, hard = self._before
        allowed = [most] if soft == self._resource.RLIM_INFINITY else [most, soft]
        self._resource.setrlimit(self._resource.RLIMIT_DATA, (min(allowed), hard))

    def lift(self) -> None:
        self._resource.setrlimit(self._resource.RLIMIT_DATA, self._before)


class AllocatorLimiter:
    """Limits what the caching allocator of one CUDA device takes from it."""

    def __init__(self, device: torch.device) -> None:
        # The limit is refused for a device without its number.
        self._device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
        self._total = torch.cuda.get_device_properties(self._device).total_memory
        _start_libraries(self._device)

    def in_use(self) -> int:
        return torch.cuda.memory_allocated(self._device)

    def freed(self) -> int:
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)

    def set(self, most: int) -> None:
        torch.cuda.set_per_process_memory_fraction(min(1.0, most / self._total), self._device)

    def lift(self) -> None:
        torch.cuda.set_per_process_memory_fraction(1.0, self._device)


HEAP_FIGURES = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)


class _Mallinfo2(ctypes.Structure):
    """`struct mallinfo2` of glibc's malloc.h; `fordblks` is what is free for reuse."""

    _fields_ = [(name, ctypes.c_size_t) for name in HEAP_FIGURES]


def _free_heap_bytes() -> int:
    """Bytes of the heap that are free for reuse; 0 where the C library does not tell (glibc does since 2.33)."""
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        return 0
    mallinfo.restype = _Mallinfo2
    return mallinfo().fordblks


def _data_bytes() -> int:
    """Size of the data segment as RLIMIT_DATA counts it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))


def _start_libraries(device: torch.device | str) -> None:
    """Do a forward and a backward pass: threads, whose stacks count as data, and workspaces stay from then on."""
    weights = torch.ones(256, 256, device=device, requires_grad=True)
    (weights @ weights).relu().sum().backward()
