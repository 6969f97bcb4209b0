"""Plain stochastic gradient descent: no momentum, no weight decay, no state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tightfit.memory.table import LayerRow
from tightfit.numerics.noise.rounding import within
from tightfit.optimizers.rules.rule import Named, Stepper


@dataclass(frozen=True)
class SGD:
    kind = "sgd"

    def state_bytes(self, row: LayerRow) -> int:
        return 0

    def begin(self, parameters: Named, seed: int) -> Stepper:
        del seed  # it draws nothing
        return SGDStepper(parameters)


class SGDStepper:
    def __init__(self, parameters: Named) -> None:
        self._parameters = [parameter for _, parameter in parameters]

    @torch.no_grad()
    def step_(self, lr: float) -> None:
        for parameter in self._parameters:
            if parameter.grad is not None:
                parameter.add_(parameter.grad, alpha=within(-lr, parameter.dtype))
                parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


PLAIN = SGD()
