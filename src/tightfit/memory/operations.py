"""The operations of any model, one row each, from one forward pass without data.

Where the layer table follows the papers, a row for each module, this follows what really runs: every operator that
makes a tensor has a row, functions without a module (softmax, residual sums) and copies for another layout included.
Views and work in place make no tensor and have none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tightfit.memory.without_data import empty_like, twin_of, without_data
from tightfit.models.base import traits_of


@dataclass(frozen=True)
class Operation:
    """One operator in a forward pass over a whole batch. Sizes are in bytes."""

    module: str  # the name of the innermost module it runs in; empty: the model itself
    kind: str  # the operator's name in PyTorch
    parameters: int  # elements that it reads
    inputs: int  # of the tensors it reads, parameters and repetitions not counted
    outputs: int  # of the tensors it makes
    kept: int  # of its outputs, what autograd keeps for a backward pass


def operation_table(model: nn.Module, example_shape: tuple[int, ...], batch_size: int = 1) -> tuple[Operation, ...]:
    """The operations of `model` on a batch, in order, with whatever requires gradients now.

    model: only shapes and types are read; it may be on the meta device, and is left as it is.
    Raises ValueError where sizes depend on data.
    """
    with without_data() as fake:
        twin = twin_of(model, fake, "cpu")
        dtype = traits_of(model).input_dtype
        batch = empty_like(torch.empty((batch_size, *example_shape), dtype=dtype, device="meta"), fake, "cpu")
        recorder = Recorder(twin)
        with recorder, torch.autograd.graph.saved_tensors_hooks(recorder.keep, lambda kept: kept):
            twin(batch)
    return recorder.operations()


class Recorder(TorchDispatchMode):
    """Notes each operator that makes a tensor while `model` runs, and which tensors autograd keeps."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._rows: list[tuple[Operation, list[torch.UntypedStorage]]] = []  # a storage alive is found again
        self._kept: set[int] = set()
        self._inside = [""]
        self._parameters = {storage_of(weight)._cdata: weight.numel() for weight in model.parameters()}
        for name, module in model.named_modules():
            module.register_forward_pre_hook(lambda *_, name=name: self._inside.append(name))
            module.register_forward_hook(lambda *_: self._leave())

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read = storages_of((args, kwargs))
        made = [storage for identity, storage in storages_of(result).items() if identity not in read]
        if made:
            weights = sum(self._parameters.get(identity, 0) for identity in read)
            inputs = sum(storage.nbytes() for identity, storage in read.items() if identity not in self._parameters)
            outputs = sum(storage.nbytes() for storage in made)
            kind = func.overloadpacket.__name__
            self._rows.append((Operation(self._inside[-1], kind, weights, inputs, outputs, kept=0), made))
        return result

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """Told by autograd of each tensor that it keeps."""
        self._kept.add(storage_of(tensor)._cdata)
        return tensor

    def operations(self) -> tuple[Operation, ...]:
        """What was noted."""
        return tuple(
            replace(row, kept=sum(storage.nbytes() for storage in made if storage._cdata in self._kept))
            for row, made in self._rows
        )

    def _leave(self) -> None:
        self._inside.pop()


def storage_of(tensor: torch.Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()


def storages_of(nested: Any) -> dict[int, torch.UntypedStorage]:
    """The storages of all tensors in `nested`, each once."""
    storages = (storage_of(leaf) for leaf in tree_leaves(nested) if isinstance(leaf, torch.Tensor))
    return {storage._cdata: storage for storage in storages}
