"""What methods count and what they may change: a model's blocks, and its parameters that are not frozen."""

from __future__ import annotations

from torch import nn


def trained_parameters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Named parameters that training may change: those that require gradients, and integers, which never can; but
    none that the model names in `frozen` (the base under LoRA)."""
    frozen: frozenset[str] = getattr(model, "frozen", frozenset())
    return [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if name not in frozen and (parameter.requires_grad or not parameter.is_floating_point())
    ]


def blocks_of_modules(model: nn.Module) -> dict[str, str]:
    """The block each module belongs to, by names: as the model's `blocks()` says, or each its own."""
    named = getattr(model, "blocks", None)
    return named() if named else {name: name for name, _ in model.named_modules()}


def trained_blocks(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parameters that training may change by their block, in order: what `bp_layers` counts from the end."""
    block_of = blocks_of_modules(model)
    blocks: dict[str, list[nn.Parameter]] = {}
    for name, parameter in trained_parameters(model):
        blocks.setdefault(block_of[name.rpartition(".")[0]], []).append(parameter)
    return blocks
