"""What the bytes of a plan rest on, and what they make of what a method says of a layer table.

A method counts as in a run: every number of a layer in one size, every activation of a pass at once, and an error for
each activation that is backpropagated. The literature on transformers counts otherwise in four points, and each is an
assumption here: weights, gradients and states in sizes of their own; a copy of the weights in single precision; no
errors, which live for one operation (Korthikanti et al., 2022); and of what passes without being kept for a backward
pass only the share that co-exists (on-device MeZO, Fig. 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.table import LayerTable, output_bytes, parameter_bytes, trained_bytes

Memory = Callable[[LayerTable], Breakdown]
SINGLE = 4  # bytes
Logits = Literal["all", "answer", "none"]
MOST_BYTES = 1024
SIZES = ("weight_bytes", "gradient_bytes", "state_bytes", "master_bytes")


@dataclass(frozen=True)
class Assumptions:
    """rho: share of the numbered blocks whose activations co-exist in a pass that keeps nothing for a backward.

    dropout: counted as Korthikanti does, masks at one byte. fused_attention: no s × s matrix is ever held.
    logits: for every position, for the answer's alone, or not counted. errors: counted, one for each activation.
    *_bytes: per number; state_bytes for each number that a rule keeps in the type of the weights, master_bytes for the
    copy of a weight that a rule with a state moves; 0: no copy.
    """

    rho: float
    dropout: bool = False
    fused_attention: bool = False
    logits: Logits = "all"
    errors: bool = False
    weight_bytes: float = 2
    gradient_bytes: float = 2
    state_bytes: float = 4
    master_bytes: float = 4
    activation_bytes: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.rho <= 1:
            raise ValueError(f"rho={self.rho} is not a share of the layers; choose more than 0 and at most 1")
        for name in SIZES:
            if not 0 <= getattr(self, name) <= MOST_BYTES:
                raise ValueError(f"{name}={getattr(self, name)} is no size of a number; choose 0 to {MOST_BYTES}")
        if not 1 <= self.activation_bytes <= MOST_BYTES:
            raise ValueError(f"activation_bytes={self.activation_bytes} is no size of a number; choose 1, 2, 4 or 8")
        if self.logits not in ("all", "answer", "none"):
            raise ValueError(f"logits={self.logits!r} are of no position; choose all, answer or none")


def asked(memory: Memory, unfused: Memory, table: LayerTable, a: Assumptions) -> Breakdown:
    """What a method says of `table`, in the sizes and shares of `a`.

    memory: asks the method; unfused: asks it as it is without steps in the backward pass, which tells the weights that
    have a gradient at some time.
    """
    said = unfused(table)
    held = as_assumed(said, table, a)
    share = memory(table).gradients / said.gradients if said.gradients else 1
    copies = a.master_bytes * said.gradients / a.activation_bytes if said.optimizer_state else 0
    return replace(
        held, gradients=round(share * held.gradients), optimizer_state=round(states_bytes(memory, table, a) + copies)
    )


def states_bytes(memory: Memory, table: LayerTable, a: Assumptions) -> float:
    """Bytes of a method's states where a number in the type of the weights has `a.state_bytes`; numbers with a size of
    their own, such as codes, keep it."""
    sizes = (SINGLE, 2 * SINGLE)
    tables = (replace(table, rows=tuple(replace(row, held_bytes=size) for row in table.rows)) for size in sizes)
    single, double = (memory(sized).optimizer_state for sized in tables)
    return single + (a.state_bytes - SINGLE) * (double - single) / SINGLE


def as_assumed(said: Breakdown, table: LayerTable, a: Assumptions) -> Breakdown:
    """What a method `said` of `table`, whose weights are in `a.activation_bytes`, in the sizes and shares of `a`.

    What a method holds beside the weights to move them stays as it is.
    """
    weights = sum(row.parameters for row in table.rows)
    beside = said.parameters - parameter_bytes(table.rows)
    gradients, states = said.gradients / a.activation_bytes, said.optimizer_state / a.activation_bytes
    copied = gradients if states else 0
    return Breakdown(
        parameters=round(a.weight_bytes * weights) + beside,
        gradients=round(a.gradient_bytes * gradients),
        optimizer_state=round(a.state_bytes * states + a.master_bytes * copied),
        activations=round(said.activations * coexisting(said, table, a.rho)),
        errors=said.errors if a.errors else 0,
    )


def coexisting(said: Breakdown, table: LayerTable, rho: float) -> float:
    """The share of all activations that is held at once, when of the blocks that only pass `rho` is."""
    everything = output_bytes(table.rows, 1)
    return 1 - (1 - rho) * passing_bytes(said, table) / everything if everything else 1.0


def passing_bytes(said: Breakdown, table: LayerTable) -> int:
    """Bytes per example of the activations that no backward pass needs: those of the numbered blocks before the first
    block of whose weights the method holds gradients."""
    without_gradient = trained_bytes(table.rows) - said.gradients
    passing = 0
    for block, members in groupby(table.rows, key=lambda row: row.block):
        rows = tuple(members)
        without_gradient -= trained_bytes(rows)
        if without_gradient < 0:
            break
        passing += output_bytes(rows, 1) if block.startswith("layers.") else 0
    return passing
