"""Keeps all that the backward pass needs: autograd as it is."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.table import LayerTable
from tightfit.optimizers.activations.activations import Forgetful, Keeper
from tightfit.optimizers.phases import Phases


@dataclass(frozen=True)
class Kept:
    kind = "kept"
    forward_passes = 1

    def memory(self, kept: Breakdown, table: LayerTable, batch_size: int) -> Breakdown:
        return kept

    def prepare(self, model: nn.Module, phases: Phases, seed: int) -> Keeper:
        return Forgetful(nullcontext)


KEPT = Kept()
