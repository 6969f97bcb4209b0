"""What was made of a tensor, made once for all who read the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import torch

Made = TypeVar("Made")


class WhileAlive(Generic[Made]):
    """Found again by the memory itself while it is alive and not written to.

    An address would not do: it is given out again when memory is freed, and would answer with what was made of another
    tensor.
    """

    def __init__(self) -> None:
        self._made: WeakKeyDictionary[torch.UntypedStorage, tuple[Hashable, Made]] = WeakKeyDictionary()

    def __call__(self, tensor: torch.Tensor, make: Callable[[], Made], *of: Hashable) -> Made:
        """What `make` makes of `tensor`, or made of it before. of: what else it is a function of."""
        storage, key = tensor.untyped_storage(), (tensor._version, tensor.dtype, *of)
        found = self._made.get(storage)
        if found is not None and found[0] == key:
            return found[1]
        made = make()
        self._made[storage] = key, made
        return made
