"""MP-LoRA: low-rank adapters of which one forward pass evaluates several perturbed copies (MobiZO, Gao et al., 2025).

The frozen weights, and the shared first factor, are read once for all copies. Of the factors only the second is
trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from tightfit.memory.table import LayerRow
from tightfit.models.adapters.adapter import Adapted, check_rank, linear_layers, replace_modules_, trained_beside
from tightfit.models.base import blocks_of_modules, freeze_but_
from tightfit.numerics.seeds import generator


class MPLoRALinear(Adapted):
    """y = base(x) + alpha / rank · B (A x), with a B of its own for each group of examples while there are `copies`.

    A (rank, in) is uniform within ±1/√in, as in LoRA, and frozen; B (out, rank) begins at zero, so that the adapted
    model begins as the base. Groups lie one after the other: examples 0 … n/K − 1 belong to copy 0, and so on.
    Under a base in 16 bits B and its copies are held in float32, where small steps are not lost, and multiplied in 16.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, seed: int, name: str) -> None:
        super().__init__(name)
        self.base = base
        self.scale = alpha / rank
        weight, bound = base.weight, base.in_features**-0.5
        drawn = torch.empty(rank, base.in_features, dtype=weight.dtype)
        drawn.uniform_(-bound, bound, generator=generator(seed, "adapter", name))
        self.A: torch.Tensor
        self.register_buffer("A", drawn.to(weight.device))
        exact = torch.promote_types(weight.dtype, torch.float32)
        self.B = nn.Parameter(weight.new_zeros(base.out_features, rank, dtype=exact), requires_grad=False)
        self.copies: torch.Tensor | None = None  # (K, out, rank)

    def own_rows(self, name: str, block: str, positions: int) -> list[LayerRow]:
        """See `HasRows`: A with the products that it makes, then B."""
        kind, operations = type(self).__name__, 2 * positions
        (rank, inputs), a, b = self.A.shape, self.A.numel(), self.B.numel()
        return [
            LayerRow(
                f"{name}.A",
                kind,
                parameters=a,
                outputs=rank * positions,
                bytes_per_element=self.A.element_size(),
                inputs=inputs * positions,
                frozen=a,
                operations=operations * a,
                block=block,
            ),
            LayerRow(
                f"{name}.B",
                kind,
                parameters=b,
                outputs=0,  # added to those of the base, in place
                bytes_per_element=self.B.element_size(),
                shapes=(tuple(self.B.shape),),
                operations=operations * b,
                block=block,
            ),
        ]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        stack = (self.B[None] if self.copies is None else self.copies).to(inputs.dtype)
        outputs = self.base(inputs)
        hidden = F.linear(inputs, self.A.to(inputs.dtype)).view(len(stack), -1, self.A.shape[0])  # (K, n / K, rank)
        # Multiplied onto the outputs: what the adapters change is never held beside them.
        outputs.view(len(stack), -1, outputs.shape[-1]).baddbmm_(hidden, stack.transpose(1, 2), alpha=self.scale)
        return outputs


@dataclass(frozen=True)
class MPLoRA:
    """Adapters of linear layers, which are frozen. targets: a regular expression for the names of layers; None: every
    linear layer but a language model's answers, as the paper adapts projections in the layers."""

    rank: int = 16
    alpha: float = 32
    targets: str | None = None

    def __post_init__(self) -> None:
        check_rank(self.rank, self.alpha)

    def inject(self, model: nn.Module, seed: int) -> list[str]:
        """See `Adapter`. Raises ValueError for a rank above the width of all layers."""
        blocks, beside = blocks_of_modules(model), trained_beside(model)
        bases = linear_layers(model, self.targets)
        widest = max(max(base.weight.shape) for base in bases.values())
        if self.rank > widest:
            raise ValueError(f"rank={self.rank} but no adapted layer is wider than {widest}; choose at most {widest}")
        alpha = float(self.alpha)
        replace_modules_(model, {n: MPLoRALinear(base, self.rank, alpha, seed, n) for n, base in bases.items()})
        updates = {f"{name}.B" for name in bases}
        trained = [name for name, _ in model.named_parameters() if name in updates or name in beside]
        freeze_but_(model, trained, blocks)
        return trained


def adapters_of(model: nn.Module) -> dict[str, MPLoRALinear]:
    """The adapters in `model`, by the names of their layers."""
    return {name: module for name, module in model.named_modules() if isinstance(module, MPLoRALinear)}
