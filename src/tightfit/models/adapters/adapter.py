"""The seam between a run and an adapter: one type, the one that changes nothing, and what several check."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from tightfit.models.base import blocks_of_modules, traits_of

LISTED = 8  # names of modules in a message


class Adapter(Protocol):
    """A choice of small trained parts, with its settings, frozen."""

    def inject(self, model: nn.Module, seed: int) -> list[str]:
        """Put the parts into `model`, which computes what it did before, and freeze the rest (`freeze_but_`), but for
        what is `trained_beside` them.

        Returns the names of the parameters that are trained from then on.
        Raises ValueError for a model that has no place for them.
        """
        ...


@dataclass(frozen=True)
class NoAdapter:
    """Leaves a model as it is: with all of its weights trained, or with the adapter that its source came with."""

    def inject(self, model: nn.Module, seed: int) -> list[str]:
        frozen = traits_of(model).frozen
        return [name for name, _ in model.named_parameters() if name not in frozen]


class Adapted(nn.Module):
    """What stands in the place of the linear layer that was called `name`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    @property
    def weight(self) -> torch.Tensor:
        """None of its own. Raises ValueError: who reads the weights of a layer instead of calling it has no adapter."""
        raise ValueError(
            f"adapters belong to linear layers that are called, but the weights of {self._name} are read by another "
            "module, as in nn.TransformerEncoder and nn.MultiheadAttention; leave it out by adapter.targets=…, or "
            "choose adapter=none"
        )


def replace_modules_(model: nn.Module, replaced: Mapping[str, nn.Module]) -> None:
    """Put the modules `replaced` into `model`, in the places that their names say."""
    for name, module in replaced.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, module)


def trained_beside(model: nn.Module) -> set[str]:
    """The names of what is trained beside adapters in `model`, before these are put into it: the parameters outside of
    the part that they go into, as those of a head, and in it what had no weights before."""
    traits = traits_of(model)
    inside = f"{traits.adapted}." if traits.adapted else ""
    return {name for name, _ in model.named_parameters() if not name.startswith(inside)} | traits.new


def check_rank(rank: object, alpha: object = 1) -> None:
    """Raise ValueError unless updates of `rank` can be made, and weighed by `alpha`."""
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise ValueError(f"adapter.rank={rank} but an update has a rank of at least 1; choose 1 or more")
    number = float(alpha) if isinstance(alpha, int | float | str) else math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"adapter.alpha={alpha} is not more than 0 and finite; choose such a number")


def linear_layers(model: nn.Module, targets: str | None) -> dict[str, nn.Linear]:
    """The linear layers in `model`, by their names, that `targets`, a regular expression, finds something in.

    None: all but those in blocks that the model wants left alone, such as its answers. Raises ValueError for none.
    """
    block_of, left_alone = blocks_of_modules(model), traits_of(model).unadapted
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if targets is None:
        chosen = [name for name in linear if block_of[name] not in left_alone]
    else:
        chosen = [name for name in linear if re.search(targets, name)]
    if not chosen:
        called = "none before its answers" if targets is None else f"none called {targets!r}"
        has = f"{called}, only {', '.join(list(linear)[:LISTED])}" if linear else "none"
        raise ValueError(
            f"adapters belong to linear layers, but this model has {has}; choose another model or adapter.targets"
        )
    return {name: linear[name] for name in chosen}
