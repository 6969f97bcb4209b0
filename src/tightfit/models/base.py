"""What a model may say of itself, and what is taken for granted of one that says nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import nn

# From stored inputs to what a model takes.
Encoding = Callable[[torch.Tensor], torch.Tensor]
# The block of each module of a model, both by name.
Blocks = Callable[[nn.Module], dict[str, str]]


@dataclass(frozen=True)
class Traits:
    """A model states its own as an attribute `traits`, of its class or of itself.

    frozen: names of the parameters that no method changes, as adapters freeze their base.
    blocks: what `bp_layers` counts as one layer, and what checkpointing computes again as one. None: in a sequence each
        module is a block; any other model has no blocks, and a method that needs them refuses it.
    input_dtype: of what the model takes, once encoded.
    input_encoding: makes an Encoding of a data set's mean and standard deviation. None: (x / 255 − mean) / std.
    scoring_batch: examples scored at once; lower it where a few hundred would hold too much.
    adapted: the part that adapters go into, by name; parameters outside of it are trained beside them. Empty: all.
    new: parameters that no weights were there for, so that they are trained beside adapters, in that part too.
    unadapted: blocks in it that get no adapter unless one is asked for by name.
    rounded_to: multiples of what weights are rounded to when they are used; 0: to none.
    """

    frozen: frozenset[str] = frozenset()
    blocks: Blocks | None = None
    input_dtype: torch.dtype = torch.float32
    input_encoding: Callable[[float, float], Encoding] | None = None
    scoring_batch: int = 500
    adapted: str = ""
    new: frozenset[str] = frozenset()
    unadapted: frozenset[str] = frozenset()
    rounded_to: float = 0.0


NOTHING_SAID = Traits()
NAMES = tuple(field.name for field in fields(Traits))


def traits_of(model: nn.Module) -> Traits:
    """What `model` says of itself. Raises ValueError where it says so in another place, which nothing would read."""
    if hasattr(model, "traits"):
        traits = model.traits
        if not isinstance(traits, Traits):
            raise ValueError(f"{type(model).__name__}.traits is no Traits; write traits = Traits(…)")
        return traits
    for name in NAMES:
        if hasattr(model, name) and not isinstance(getattr(model, name), nn.Module):
            raise ValueError(
                f"{type(model).__name__}.{name} is not read; say it in traits = tightfit.models.base.Traits({name}=…)"
            )
    return NOTHING_SAID


def blocks_of_modules(model: nn.Module) -> dict[str, str]:
    """The block each module belongs to, by names: as the model says, or each its own."""
    blocks = traits_of(model).blocks
    return blocks(model) if blocks else {name: name for name, _ in model.named_modules()}


def has_blocks(model: nn.Module) -> bool:
    """Whether layers of `model` can be counted from its end: it names its blocks, or is a sequence of them."""
    return traits_of(model).blocks is not None or isinstance(model, nn.Sequential)


def freeze_but_(model: nn.Module, trained: Iterable[str], blocks: dict[str, str]) -> None:
    """From now on methods change the parameters called `trained` alone.

    blocks: those of `model` before modules were put into it; what is new belongs to the block of what it was put into.
    """

    def blocks_with_adapters(adapted: nn.Module) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, _ in adapted.named_modules():
            found[name] = blocks[name] if name in blocks else found[name.rpartition(".")[0]]
        return found

    kept = frozenset(trained)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in kept)
    said: Any = model  # PyTorch types what modules hold as tensors and modules
    said.traits = replace(
        traits_of(model),
        frozen=frozenset(name for name, _ in model.named_parameters()) - kept,
        blocks=blocks_with_adapters if has_blocks(model) else None,
    )
