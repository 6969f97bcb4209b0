"""Muon by PyTorch: momentum whose singular values are all made nearly one (Jordan, 2024).

PyTorch's takes matrices alone, and finds the polar factor by five Newton–Schulz iterations in bfloat16, after which
singular values lie around 1 and not at it. Here kernels of convolutions are matrices of their outputs, as in the
author's own code; vectors, embeddings and heads are stepped by Adam. No weight decay. One rate serves both with
`adjust=match_rms_adamw` (Liu et al., 2025): a step is then as long as a usual one of Adam.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import nn

from tightfit.memory.table import LayerRow
from tightfit.numerics.noise.flat import flat, matrix_shape
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.per_tensor import EMBEDDINGS, check_expression, found_in
from tightfit.optimizers.rules.rule import Named, Stepper
from tightfit.optimizers.rules.torch_stepper import TorchStepper
from tightfit.optimizers.schedules import check_each

Adjust = Literal["match_rms_adamw", "original"]


@dataclass(frozen=True)
class Muon:
    """momentum: what is left of it a step later; adjust: how long a step of a matrix is, by its sides; by_adam: a
    regular expression, Adam steps the tensors of layers in whose names it finds something."""

    momentum: float = 0.95
    adjust: Adjust = "match_rms_adamw"
    by_adam: str = field(default=EMBEDDINGS, kw_only=True)

    kind = "muon"

    def __post_init__(self) -> None:
        check_each("rule.momentum", self.momentum, lambda decay: 0 <= decay < 1, "from 0 to less than 1")
        check_expression("rule.by_adam", self.by_adam)
        if self.adjust not in get_args(Adjust):
            raise ValueError(f"rule.adjust={self.adjust!r} is no length of steps; choose match_rms_adamw or original")

    def is_own(self, layer: str, shape: tuple[int, ...]) -> bool:
        return len(shape) > 1 and not found_in(layer, self.by_adam)

    def state_bytes(self, row: LayerRow) -> int:
        """A momentum for each number of a matrix, Adam's two moments for the others."""
        own = sum(math.prod(shape) for shape in row.shapes if self.is_own(row.name, shape))
        return row.bytes_per_parameter * (own + 2 * (row.trained_elements - own))

    def begin(self, parameters: Named, seed: int) -> Stepper:
        own = [(name, p) for name, p in parameters if self.is_own(name.rpartition(".")[0], tuple(p.shape))]
        others = [(name, p) for name, p in parameters if not self.is_own(name.rpartition(".")[0], tuple(p.shape))]
        return MuonStepper(self, own, Adam().begin(others, seed) if others else None)


class MuonStepper:
    """See `Stepper`."""

    def __init__(self, rule: Muon, own: Named, others: Stepper | None) -> None:
        self._parameters = [parameter for _, parameter in own]
        # In the memory of the weights: PyTorch's own takes tensors of two axes alone.
        self._matrices = [nn.Parameter(flat(p.detach()).view(matrix_shape(p))) for p in self._parameters]
        settings: dict[str, Any] = {"momentum": rule.momentum, "adjust_lr_fn": rule.adjust, "weight_decay": 0.0}
        self._muon = TorchStepper(torch.optim.Muon(self._matrices, lr=0.0, **settings)) if own else None
        self._others = others

    def step_(self, lr: float) -> None:
        for parameter, matrix in zip(self._parameters, self._matrices, strict=True):
            if parameter.grad is not None:
                matrix.grad = flat(parameter.grad).view_as(matrix)
                parameter.grad = None
        for stepper in self._steppers():
            stepper.step_(lr)

    def state_dict(self) -> dict[str, Any]:
        return {"muon": [stepper.state_dict() for stepper in self._steppers()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for stepper, kept in zip(self._steppers(), state["muon"], strict=True):
            stepper.load_state_dict(kept)

    def _steppers(self) -> list[Stepper]:
        return [stepper for stepper in (self._muon, self._others) if stepper]
