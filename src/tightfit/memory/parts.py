"""What methods count and what they may change: a model's blocks, and its parameters that are not frozen."""

from __future__ import annotations

from torch import nn

from tightfit.models.base import blocks_of_modules, has_blocks, traits_of


def trained_parameters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Named parameters that training may change: those that require gradients, and integers, which never can; but
    none that the model says is frozen (the base under LoRA)."""
    frozen = traits_of(model).frozen
    return [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if name not in frozen and (parameter.requires_grad or not parameter.is_floating_point())
    ]


def trained_blocks(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parameters that training may change by their block, in order: what `bp_layers` counts from the end.

    Raises ValueError for a model without blocks.
    """
    if not has_blocks(model):
        raise ValueError(
            f"{type(model).__name__} is no sequence and names no blocks, so bp_layers counts nothing; give it "
            "traits = Traits(blocks=…), or choose optimizer=bp or mezo"
        )
    block_of = blocks_of_modules(model)
    blocks: dict[str, list[nn.Parameter]] = {}
    for name, parameter in trained_parameters(model):
        blocks.setdefault(block_of[name.rpartition(".")[0]], []).append(parameter)
    return blocks
