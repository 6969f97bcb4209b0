"""MeSP: exact gradients of low-rank updates, of which only the inputs are kept (arXiv 2602.13069).

Of y = W x + c B (A x) autograd keeps x, and h = A x too, which the gradient of B needs. Here x alone is kept and the
backward pass computes h again: h = A x, dB = c dy hᵀ, dh = c Bᵀ dy, dA = dh xᵀ, dx = Wᵀ dy + Aᵀ dh. Blocks are
checkpointed and worked through one by one, as the paper does, so that of one block at a time more than its input is
kept. Gradients are those of autograd.

No code is public, and of the paper only what it claims is known: the equations are derived. It reports half the memory
of its relative MeBP (arXiv 2510.03425) on Qwen2.5. What is counted here is what the equations save against checkpoints
alone, a number for each position and rank in the block in flight; whatever else a framework keeps was not here before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.table import LayerRow, LayerTable, output_bytes
from tightfit.models.adapters.lora import Update, plain_updates
from tightfit.optimizers.activations.activations import Forgetful, Keeper
from tightfit.optimizers.activations.checkpointed import Checkpointed, recomputing, replacements
from tightfit.optimizers.phases import Phases

FIRST_FACTOR = r"\.(lora_A\.[^.]+|A)$"  # what peft calls it in a model, and a plan in its table


@dataclass(frozen=True)
class MeSP:
    kind = "mesp"
    forward_passes = 2

    def memory(self, kept: Breakdown, table: LayerTable, batch_size: int) -> Breakdown:
        """As checkpoints have it, but of all h of the largest block one alone, which is computed again.

        Raises ValueError for a table without such updates.
        """
        if not any(map(is_first_factor, table.rows)):
            raise no_updates(table.model)
        blocks = table.blocks()
        plain = max(output_bytes(block, batch_size) for block in blocks)
        spared = plain - max(output_bytes(block, batch_size) - hidden_bytes(block, batch_size) for block in blocks)
        checkpointed = Checkpointed().memory(kept, table, batch_size)
        return replace(checkpointed, activations=checkpointed.activations - spared)

    def prepare(self, model: nn.Module, phases: Phases, seed: int) -> Keeper:
        updates = plain_updates(model)
        if not any(update.first.requires_grad for update in updates.values()):
            raise no_updates(type(model).__name__)
        exact: dict[nn.Module, Any] = {layer: partial(updated, update) for layer, update in updates.items()}
        with recomputing(exact):  # a block may be one such layer
            blocks = replacements(model, phases)
        return Forgetful(partial(recomputing, {**exact, **blocks}))


def no_updates(model: str) -> ValueError:
    return ValueError(
        f"activations=mesp computes the inner products of low-rank updates again, but {model} trains none; set "
        "adapter=lora, or choose activations=checkpointed"
    )


def is_first_factor(row: LayerRow) -> bool:
    """Whether `row` is A of an update that is trained whole."""
    return row.has_weights and re.search(FIRST_FACTOR, row.name) is not None


def hidden_bytes(block: Sequence[LayerRow], batch_size: int) -> int:
    """Of every h in `block` but the largest."""
    hidden = [output_bytes((row,), batch_size) for row in block if is_first_factor(row)]
    return sum(hidden) - max(hidden, default=0)


def updated(update: Update, inputs: torch.Tensor) -> torch.Tensor:
    """What a layer with an `update` answers to inputs (…, in): (…, out)."""
    outputs = update.base(inputs)
    added = LowRankProduct.apply(inputs, update.first, update.second, update.scale)
    if added.dtype != outputs.dtype:  # the factors are exact, the base is in 16 bits
        return (outputs + added).to(outputs.dtype)
    return outputs.add_(added)


class LowRankProduct(torch.autograd.Function):
    """scale · second (first x) for inputs x (…, in), of which x alone is kept."""

    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, first: torch.Tensor, second: torch.Tensor, scale: float
    ) -> torch.Tensor:
        ctx.save_for_backward(inputs, first, second)
        ctx.scale = scale
        return F.linear(F.linear(inputs.to(first.dtype), first), second).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *of_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, first, second = ctx.saved_tensors
        for_inputs, for_first, for_second, _ = ctx.needs_input_grad
        errors, x = of_outputs[0].flatten(0, -2), inputs.flatten(0, -2).to(first.dtype)  # (t, out), (t, in)
        of_second = (errors.t() @ F.linear(x, first)).mul_(ctx.scale) if for_second else None
        of_hidden = (errors @ second).mul_(ctx.scale) if for_first or for_inputs else None  # (t, rank)
        return (
            (of_hidden @ first).view(inputs.shape).to(inputs.dtype) if for_inputs and of_hidden is not None else None,
            of_hidden.t() @ x if for_first and of_hidden is not None else None,
            of_second,
            None,
        )
