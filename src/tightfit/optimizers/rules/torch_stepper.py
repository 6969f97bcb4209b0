"""An optimizer of PyTorch's at work for a rule: it is given the rate at each step, and the gradients are freed."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from tightfit.numerics.noise.rounding import within


class TorchStepper:
    """See `Stepper`. optimizer: of `torch.optim`, with all its parameters in one type."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer

    def step_(self, lr: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = within(lr, group["params"][0].dtype)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        return self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._optimizer.load_state_dict(state)
