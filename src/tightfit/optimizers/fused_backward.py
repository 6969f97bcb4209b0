"""Steps within the backward pass: each tensor moves, and its gradient is freed, when its gradient is complete.

One gradient lives at a time in place of all (LOMO, Lv et al., 2023, arXiv 2306.09782). The steps are those of the rule
bit for bit: no rule here looks at several tensors together, and a tensor's gradient is complete only when nothing in
the backward pass reads the tensor any more.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from tightfit.optimizers.phases import Phases
from tightfit.optimizers.rules.rule import Named, Rule, Stepper


class FusedBackward:
    """A `Stepper` whose steps are made while it is `stepping`; what it saves is by the names of the parameters."""

    def __init__(self, rule: Rule, parameters: Named, seed: int, phases: Phases) -> None:
        self._parameters = dict(parameters)
        self._steppers = {name: rule.begin([(name, parameter)], seed) for name, parameter in parameters}
        self._phases = phases

    @contextmanager
    def stepping(self, lr: float) -> Generator[None]:
        """Inside, a backward pass steps each parameter at the rate `lr`; the time counts as the update's."""

        def step_(stepper: Stepper) -> None:
            with self._phases("update"):
                stepper.step_(lr)

        hooks = [
            parameter.register_post_accumulate_grad_hook(lambda _, stepper=self._steppers[name]: step_(stepper))
            for name, parameter in self._parameters.items()
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def step_(self, lr: float) -> None:
        """Nothing is left to do after a backward pass."""

    def state_dict(self) -> dict[str, Any]:
        return {name: stepper.state_dict() for name, stepper in self._steppers.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, stepper in self._steppers.items():
            stepper.load_state_dict(state[name])
