"""Another rule under the mask of a pruned model: weights that are 0 stay 0.

No mask is held. A weight that is exactly 0 gets no gradient. What may begin at 0 without being pruned is left to the
rule: biases and other vectors, and matrices of nothing else, as adapters have; of a pruned one at least a weight stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tightfit.memory.table import LayerRow
from tightfit.optimizers.rules.rule import Named, Rule, Stepper


@dataclass(frozen=True)
class Masked:
    """rule: what moves the weights that are not 0; one that leaves weights without gradients where they are."""

    rule: Rule

    @property
    def kind(self) -> str:
        return f"masked_{self.rule.kind}"

    def state_bytes(self, row: LayerRow) -> int:
        """The rule's, of all weights: a mask is in their values and a tensor that is half zeros is no smaller."""
        return self.rule.state_bytes(row)

    def begin(self, parameters: Named, seed: int) -> Stepper:
        return MaskedStepper(self.rule, parameters, seed)


class MaskedStepper:
    @torch.no_grad()
    def __init__(self, rule: Rule, parameters: Named, seed: int) -> None:
        self._pruned = [each for _, each in parameters if each.dim() > 1 and int(each.count_nonzero())]
        self._stepper = rule.begin(parameters, seed)

    @torch.no_grad()
    def step_(self, lr: float) -> None:
        for parameter in self._pruned:
            if parameter.grad is not None:
                parameter.grad.mul_(parameter != 0)
        self._stepper.step_(lr)

    def state_dict(self) -> dict[str, Any]:
        return self._stepper.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._stepper.load_state_dict(state)
