"""The measured peak: bytes of live tensor storage at the worst moment of real steps.

On CPU every tensor that an operator returns is followed until it is freed, so the count is exact and the same
on each machine and for each thread count; temporaries inside an operator are not seen. On CUDA it is the
allocator's peak.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Follows the storages of all tensors made while it is active; `peak` is the most that lived at once."""

    def __init__(self, resident: Iterable[torch.Tensor], uncounted: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: set[int] = {tensor.untyped_storage()._cdata for tensor in uncounted}
        for tensor in resident:
            self._follow(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._follow(leaf)
        return result

    def _follow(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        identity, size = storage._cdata, storage.nbytes()
        if identity in self._known:
            return
        self._known.add(identity)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, identity, size)

    def _forget(self, identity: int, size: int) -> None:
        self._known.discard(identity)
        self.live -= size


def peak_live_bytes(
    work: Callable[[], Any], resident: Iterable[torch.Tensor], uncounted: Iterable[torch.Tensor] = ()
) -> int:
    """The most bytes of tensors alive at once while `work()` runs.

    resident: tensors that are alive before and count (the parameters).
    uncounted: tensors alive before that do not count (the input batch, as in the analytic convention).
    """
    resident = list(resident)
    if resident and resident[0].is_cuda:
        return _peak_on_cuda(work, resident)
    with LiveBytes(resident, uncounted) as live:
        work()
    return live.peak


def _peak_on_cuda(work: Callable[[], Any], resident: list[torch.Tensor]) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before + sum(tensor.nbytes for tensor in resident)
