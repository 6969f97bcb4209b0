"""Keeps the input of each block alone and computes the rest again (Chen et al., 2016).

A step ends at the weights of plain backpropagation bit for bit, for one more forward pass and less memory. Statistics
of normalisation move once a step and dropout draws the same masks twice, as if nothing were computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.table import LayerTable, error_bytes, input_bytes, output_bytes
from tightfit.models.base import blocks_of_modules, has_blocks
from tightfit.optimizers.activations.activations import Forgetful, Keeper
from tightfit.optimizers.phases import Phases

Forward = Callable[..., Any]


@dataclass(frozen=True)
class Checkpointed:
    kind = "checkpointed"
    forward_passes = 2

    def memory(self, kept: Breakdown, table: LayerTable, batch_size: int) -> Breakdown:
        """The activations of the largest block, the errors of the largest that has any, and of the blocks what goes
        into them.

        The first block's input is that of the model, which no convention counts. Blocks before the first that trains
        weights keep nothing and have no errors. Source: Korthikanti et al., 2022, section 5, in the buffers of
        ElasticZO's eq. 2.
        """
        blocks = table.blocks()
        first = next((place for place, block in enumerate(blocks) if any(row.has_weights for row in block)), 0)
        largest = max(output_bytes(block, batch_size) for block in blocks)
        errors = max(error_bytes(block, batch_size) for block in blocks[first:])
        inputs = sum(input_bytes(block[0], batch_size) for block in blocks[max(1, first) :])
        return replace(kept, activations=inputs + largest, errors=errors)

    def prepare(self, model: nn.Module, phases: Phases, seed: int) -> Keeper:
        return Forgetful(partial(recomputing, replacements(model, phases)))


@contextmanager
def recomputing(replacements: dict[nn.Module, Forward]) -> Generator[None]:
    """Inside, modules compute as `replacements` say; outside, as they always do."""
    for module, forward in replacements.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in replacements:
            del module.forward


def replacements(model: nn.Module, phases: Phases) -> dict[nn.Module, Forward]:
    """What computes in place of which module so that the insides of blocks are not kept.

    A sequence is cut into its blocks; any other model must name them, and have a module of that name.
    Raises ValueError where it has none.
    """
    if isinstance(model, nn.Sequential):
        return {model: in_turn([recomputed(nn.Sequential(*block), phases) for block in blocks_of_sequence(model)])}
    block_of = blocks_of_modules(model) if has_blocks(model) else {}
    named = {module: recomputed(module, phases) for name, module in model.named_modules() if block_of.get(name) == name}
    if not named:
        raise ValueError(
            f"{type(model).__name__} names no blocks to compute again; give it traits = Traits(blocks=…), or choose "
            "activations=kept"
        )
    return named


def blocks_of_sequence(model: nn.Sequential) -> list[list[nn.Module]]:
    """The members of `model`, those of a block together; one without weights belongs to the block before it."""
    block_of = blocks_of_modules(model)
    blocks: list[list[nn.Module]] = [[]]
    current = None
    for name, member in model.named_children():
        if any(True for _ in member.parameters()) and block_of[name] != current:
            if current is not None:
                blocks.append([])
            current = block_of[name]
        blocks[-1].append(member)
    return blocks


def in_turn(parts: Iterable[Forward]) -> Forward:
    def forward(values: Any) -> Any:
        for part in parts:
            values = part(values)
        return values

    return forward


def recomputed(module: nn.Module, phases: Phases) -> Forward:
    """The forward pass of `module` as it is now, which keeps what goes in and computes the rest again."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    return partial(
        checkpoint, module.forward, use_reentrant=False, context_fn=lambda: (nullcontext(), second_pass(norms, phases))
    )


@contextmanager
def second_pass(norms: list[_BatchNorm], phases: Phases) -> Generator[None]:
    """Inside, which is a phase of its own, `norms` move a copy of their running statistics."""
    kept = [(norm, name, buffer) for norm in norms for name, buffer in norm.named_buffers()]
    for norm, name, buffer in kept:
        setattr(norm, name, buffer.clone())
    try:
        with phases("recompute"):
            yield
    finally:
        for norm, name, buffer in kept:
            setattr(norm, name, buffer)
