"""Adam (Kingma and Ba, 2015), no weight decay."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tightfit.memory.table import LayerRow
from tightfit.optimizers.rules.rule import Named, Stepper
from tightfit.optimizers.rules.torch_stepper import TorchStepper
from tightfit.optimizers.schedules import check_each, check_rate


@dataclass(frozen=True)
class Adam:
    """beta1, beta2: decay of the two moments; eps: added to the root of the second."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    kind = "adam"

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            check_each(f"rule.{name}", getattr(self, name), lambda decay: 0 <= decay < 1, "from 0 to less than 1")
        check_rate("rule.eps", self.eps)

    def state_bytes(self, row: LayerRow) -> int:
        """Two moments of each number. Source: ElasticZO, eq. 5."""
        return 2 * row.trained_elements * row.bytes_per_parameter

    def begin(self, parameters: Named, seed: int) -> Stepper:
        del seed  # it draws nothing
        tensors = [parameter for _, parameter in parameters]
        # On CUDA one kernel for all tensors: PyTorch's default there holds temporaries of them all, and a rehearsal,
        # whose tensors are of another class, would be given another default.
        fused = any(tensor.is_cuda for tensor in tensors)
        betas = (self.beta1, self.beta2)
        return TorchStepper(torch.optim.Adam(tensors, lr=0.0, betas=betas, eps=self.eps, foreach=False, fused=fused))
