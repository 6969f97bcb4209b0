"""The measured peak: bytes of live tensor storage at the worst moment of real steps, and what they are for.

On CPU every tensor that an operator returns is followed until it is freed, so the count is exact and the same
on each machine and for each thread count; temporaries inside an operator are not seen. On CUDA it is the
allocator's peak, the tensors are counted beside it, and what is more than these is a kind of its own. Tensors without
data are counted wherever they claim to be: no allocator knows of them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from tightfit.memory.light_mode import LightMode

PARAMETERS, GRADIENTS, OPTIMIZER_STATE = "parameters", "gradients", "optimizer_state"
ACTIVATIONS, PERTURBATION, TEMPORARIES = "activations", "perturbation", "temporaries"
KINDS = (PARAMETERS, GRADIENTS, OPTIMIZER_STATE, ACTIVATIONS, PERTURBATION, TEMPORARIES)
WORKSPACES = "workspaces"  # on CUDA: what operators take and free before they return, and the allocator's rounding


STEPS_TO_PEAK = 2  # optimizer states exist from the second step on


@dataclass(eq=False)
class Held:
    """A storage that is followed, and what its bytes are for as far as is known."""

    size: int
    kind: str


class LiveBytes(LightMode):
    """Follows the storages of all tensors made while it is active; `peak` is the most that lived at once.

    A tensor is of the kind `kind_of_new` when it is made, until `mark` knows better.
    """

    def __init__(self, resident: Iterable[torch.Tensor], uncounted: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self.kind_of_new: Callable[[], str] = lambda: TEMPORARIES
        self._uncounted: set[int] = {tensor.untyped_storage()._cdata for tensor in uncounted}
        self._held: dict[int, Held] = {}
        self._held_at_peak: list[Held] = []
        for tensor in resident:
            self._follow(tensor, PARAMETERS)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._follow(leaf, self.kind_of_new())
        return result

    def mark(self, tensors: Iterable[torch.Tensor], kind: str) -> None:
        """Know that `tensors` are of `kind`, and were when the peak was; parameters stay what they are."""
        for tensor in tensors:
            held = self._held.get(tensor.untyped_storage()._cdata)
            if held and held.kind != PARAMETERS:
                held.kind = kind

    def peak_by_kind(self) -> dict[str, int]:
        """The bytes of `peak`, kind by kind."""
        return {kind: sum(held.size for held in self._held_at_peak if held.kind == kind) for kind in KINDS}

    def _follow(self, tensor: torch.Tensor, kind: str) -> None:
        storage = tensor.untyped_storage()
        identity, size = storage._cdata, storage.nbytes()
        if identity in self._uncounted or identity in self._held:
            return
        self._held[identity] = Held(size, kind)
        self.live += size
        if self.live > self.peak:
            self.peak, self._held_at_peak = self.live, list(self._held.values())
        weakref.finalize(storage, self._forget, identity, size)

    def _forget(self, identity: int, size: int) -> None:
        del self._held[identity]
        self.live -= size


@dataclass(frozen=True)
class Peak:
    """bytes: live tensors at the worst moment; on CUDA what the allocator gave out then, rounding and workspaces too.
    by_kind: the same, of the tensors kind by kind; on CUDA the workspaces are one more.
    reserved: what the allocator held at most, on CUDA."""

    bytes: int
    by_kind: dict[str, int]
    reserved: int | None = None


def measure(
    work: Callable[[LiveBytes], Any], resident: Iterable[torch.Tensor], uncounted: Iterable[torch.Tensor] = ()
) -> Peak:
    """The peak of `work`, which activates what it is given around all that counts, and may mark there what it knows.

    resident: tensors that are alive before and count (the parameters).
    uncounted: tensors alive before that do not count (the input batch, as in the analytic convention).
    """
    resident = list(resident)
    live = LiveBytes(resident, uncounted)
    if resident and resident[0].is_cuda:
        return _measure_on_cuda(work, live, resident[0].device)
    work(live)
    return Peak(live.peak, live.peak_by_kind())


def peak_live_bytes(
    work: Callable[[], Any], resident: Iterable[torch.Tensor], uncounted: Iterable[torch.Tensor] = ()
) -> int:
    """The peak, in bytes, while `work()` runs; see `measure`."""

    def counted(live: LiveBytes) -> None:
        with live:
            work()

    return measure(counted, resident, uncounted).bytes


def counted_bytes(
    work: Callable[[], Any], resident: Iterable[torch.Tensor], uncounted: Iterable[torch.Tensor] = ()
) -> int:
    """The same by the count of tensors alone, which need no data, on whatever device they are."""
    live = LiveBytes(resident, uncounted)
    with live:
        work()
    return live.peak


def _measure_on_cuda(work: Callable[[LiveBytes], Any], live: LiveBytes, device: torch.device) -> Peak:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device) - live.live
    work(live)
    torch.cuda.synchronize(device)
    allocated = torch.cuda.max_memory_allocated(device) - before
    kinds = {**live.peak_by_kind(), WORKSPACES: max(0, allocated - live.peak)}
    return Peak(allocated, kinds, torch.cuda.max_memory_reserved(device))
