"""Some blocks are trained and the others frozen; frozen ones may drop tokens (BSR, arXiv 2405.10951).

Autograd keeps nothing of what comes before the first trained block, and of frozen blocks behind it only what their
inputs' errors need: where the trained blocks stand decides what is saved. Every token that a block drops is saved in
all blocks behind it, trained ones too.

Which blocks BSR trains and how many tokens it keeps, its opening does not say; the defaults are ours. EViT lets the
kept share fall from 1 while it trains. Here it stays, so that the first step needs no more memory than the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from tightfit.memory.parts import trained_blocks
from tightfit.memory.table import LayerTable
from tightfit.models.base import blocks_of_modules, freeze_but_
from tightfit.models.vit import Block


@dataclass(frozen=True)
class Blocks:
    """tuned: how many of the last blocks are trained, as `bp_layers` counts them, or their names. keep: the share of
    patches that a dropping block keeps; 1 drops none. dropping: the names of these blocks; None: of those that can, the
    frozen ones, but for a quarter of all at the beginning, whose attention says little yet."""

    tuned: int | Sequence[str]
    keep: float = 1.0
    dropping: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.tuned, bool | str) or (isinstance(self.tuned, int) and self.tuned < 1) or not self.tuned:
            raise ValueError(f"adapter.tuned={self.tuned} trains no block; choose 1 or more, or a list of names")
        if not 0 < self.keep <= 1:
            raise ValueError(f"adapter.keep={self.keep} is no share of patches; choose more than 0, at most 1")
        if self.keep == 1 and self.dropping is not None:
            raise ValueError(
                "adapter.dropping says where tokens are dropped, but adapter.keep=1 drops none; leave it out"
            )

    def inject(self, model: nn.Module, seed: int) -> list[str]:
        """See `Adapter`. Nothing is put in, and nothing is drawn."""
        tuned, block_of = self._tuned(list(trained_blocks(model)), type(model).__name__), blocks_of_modules(model)
        if self.keep < 1:
            for name in self._dropping(model, tuned):
                block = model.get_submodule(name)
                assert isinstance(block, Block)
                block.keep.share = self.keep
        trained = [name for name, _ in model.named_parameters() if block_of[name.rpartition(".")[0]] in tuned]
        freeze_but_(model, trained, block_of)
        return trained

    def planned(self, table: LayerTable) -> LayerTable:
        """`table`, of a planned transformer, with the rows of the other blocks frozen."""
        if self.keep < 1:
            raise ValueError(f"adapter.keep={self.keep} but {table.model} has no tokens to drop; choose adapter.keep=1")
        names = [row.block or row.name for row in table.rows]
        with_weights = (name for name, row in zip(names, table.rows, strict=True) if row.has_weights)
        tuned = self._tuned(list(dict.fromkeys(with_weights)), table.model)
        rows = (
            row if name in tuned else replace(row, frozen=row.parameters, shapes=())
            for name, row in zip(names, table.rows, strict=True)
        )
        return LayerTable(table.model, tuple(rows))

    def _tuned(self, every: list[str], model: str) -> list[str]:
        if not isinstance(self.tuned, int):
            check_blocks("tuned", self.tuned, every)
            return list(self.tuned)
        if self.tuned > len(every):
            raise ValueError(
                f"adapter.tuned={self.tuned} but {model} has {len(every)} blocks with weights; choose 1–{len(every)}"
            )
        return every[len(every) - self.tuned :]

    def _dropping(self, model: nn.Module, tuned: Sequence[str]) -> list[str]:
        able = [name for name, module in model.named_modules() if isinstance(module, Block)]
        if not able:
            raise ValueError(
                f"adapter.keep={self.keep} but {type(model).__name__} has no tokens to drop; choose adapter.keep=1, or "
                "model=vit_tiny"
            )
        frozen = [name for name in able if name not in tuned]
        if self.dropping is None:
            chosen = [name for name in able[len(able) // 4 :] if name in frozen]
            if chosen:
                return chosen
            raise ValueError(
                f"adapter.keep={self.keep} but no block from {able[len(able) // 4]} on is frozen, and only frozen ones "
                "drop tokens; choose adapter.keep=1, or train fewer blocks by adapter.tuned"
            )
        check_blocks("dropping", self.dropping, frozen)
        return list(self.dropping)


def check_blocks(setting: str, names: Sequence[str], available: Sequence[str]) -> None:
    """Raise ValueError unless all `names` are `available`."""
    for name in names:
        if name not in available:
            kind = "block with weights" if setting == "tuned" else "frozen block that can drop tokens"
            raise ValueError(f"adapter.{setting}={name} is no {kind}; choose from {', '.join(available)}")
