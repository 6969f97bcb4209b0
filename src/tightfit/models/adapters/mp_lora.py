"""MP-LoRA: low-rank adapters of which one forward pass evaluates several perturbed copies (MobiZO, Gao et al., 2025).

The frozen weights, and the shared first factor, are read once for all copies. Only the second factor is trained.
"""

from __future__ import annotations

import re

import torch
from torch import nn
from torch.nn import functional as F

from tightfit.memory.parts import blocks_of_modules
from tightfit.seeds import generator

ANSWERS = "answers"  # the block of a language model after its last layer; the paper adapts projections in the layers


class MPLoRALinear(nn.Module):
    """y = base(x) + alpha / rank · B (A x), with a B of its own for each group of examples while there are `copies`.

    A (rank, in) is uniform within ±1/√in, as in LoRA, and frozen; B (out, rank) begins at zero, so that the adapted
    model begins as the base. Groups lie one after the other: examples 0 … n/K − 1 belong to copy 0, and so on.
    Under a base in 16 bits B and its copies are held in float32, where small steps are not lost, and multiplied in 16.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, seed: int, name: str) -> None:
        super().__init__()
        self.base = base
        self.scale = alpha / rank
        self._name = name
        weight, bound = base.weight, base.in_features**-0.5
        drawn = torch.empty(rank, base.in_features, dtype=weight.dtype)
        drawn.uniform_(-bound, bound, generator=generator(seed, "adapter", name))
        self.A: torch.Tensor
        self.register_buffer("A", drawn.to(weight.device))
        exact = torch.promote_types(weight.dtype, torch.float32)
        self.B = nn.Parameter(weight.new_zeros(base.out_features, rank, dtype=exact), requires_grad=False)
        self.copies: torch.Tensor | None = None  # (K, out, rank)

    @property
    def weight(self) -> torch.Tensor:
        """None of its own. Raises ValueError: who reads the weights of a layer instead of calling it has no adapter."""
        raise ValueError(
            f"adapters belong to linear layers that are called, but the weights of {self._name} are read by another "
            "module, as in nn.TransformerEncoder and nn.MultiheadAttention; leave it out by optimizer.targets=…, or "
            "choose optimizer=mezo"
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        stack = (self.B[None] if self.copies is None else self.copies).to(inputs.dtype)
        outputs = self.base(inputs)
        hidden = F.linear(inputs, self.A.to(inputs.dtype)).view(len(stack), -1, self.A.shape[0])  # (K, n / K, rank)
        # Multiplied onto the outputs: what the adapters change is never held beside them.
        outputs.view(len(stack), -1, outputs.shape[-1]).baddbmm_(hidden, stack.transpose(1, 2), alpha=self.scale)
        return outputs


def with_mp_lora(model: nn.Module, rank: int, alpha: float, targets: str | None, seed: int) -> dict[str, MPLoRALinear]:
    """Give linear layers of `model` an adapter, in place; returns the adapters by the names of their layers.

    targets: a regular expression for the names of layers; None: every linear layer but a language model's answers.
    Raises ValueError when no layer gets one, or a rank above the width of all.
    """
    block_of = blocks_of_modules(model)
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if targets is None:
        chosen = [name for name in linear if block_of[name] != ANSWERS]
    else:
        chosen = [name for name in linear if re.search(targets, name)]
    if not chosen:
        has = f"none called {targets!r}, only {', '.join(list(linear)[:8])}" if linear else "none"
        raise ValueError(f"adapters belong to linear layers, but this model has {has}; choose another model or targets")
    bases = {name: linear[name] for name in chosen}
    widest = max(max(base.weight.shape) for base in bases.values())
    if rank > widest:
        raise ValueError(f"rank={rank} but no adapted layer is wider than {widest}; choose at most {widest}")
    adapters = {}
    for name, base in bases.items():
        parent, _, child = name.rpartition(".")
        adapters[name] = MPLoRALinear(base, rank, alpha, seed, name)
        setattr(model.get_submodule(parent), child, adapters[name])
    return adapters
