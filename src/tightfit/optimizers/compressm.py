"""CompreSSM: linear recurrent units that lose states while they train (Chahine et al., 2025, arXiv 2510.02823).

A unit begins with more states than it will need. Early in training it is balanced at a few checks, and the states that
carry least of what goes in and out are left out (`numerics.balanced`). All else is backpropagation, which holds less
from there on: parameters, gradients, moments and kept states are all in proportion to the number of states.

New coordinates are other parameters, so the rule's state of a unit that shrank is begun anew; the authors' code keeps
moments of the old ones. Their Cholesky branch also lacks conjugates, and is not followed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.measured import STEPS_TO_PEAK
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerTable
from tightfit.models.lru import LRU
from tightfit.numerics.balanced import System, balancing, states_needed, truncated
from tightfit.optimizers.base import Batch, Learner, Objective, Report
from tightfit.optimizers.bp import Backprop, BackpropLearner
from tightfit.optimizers.rules.rule import Named, Stepper
from tightfit.optimizers.schedules import check_each
from tightfit.optimizers.suitability import check_floats

MATRICES = 8  # of states × states complex numbers in 16 bytes, held at once by a check


@dataclass(frozen=True)
class CompreSSM(Backprop):
    """Backpropagation, and checks.

    left_out: of the sum of a unit's Hankel singular values, the share that may go with the states left out.
    checks: how many, evenly spread over the first part `within` of the `epochs` of training.
    worth: states are left out only where fewer than this share of them would be left.
    """

    epochs: float = field(kw_only=True)
    left_out: float = field(default=0.02, kw_only=True)
    checks: int = field(default=10, kw_only=True)
    within: float = field(default=0.1, kw_only=True)
    worth: float = field(default=0.95, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fused_backward:
            raise ValueError("optimizer=compressm exchanges parameters that fused_backward holds; leave that out")
        check_each("optimizer.left_out", self.left_out, lambda value: 0 <= value < 1, "from 0 to less than 1")
        for name in ("within", "worth"):
            check_each(f"optimizer.{name}", getattr(self, name), lambda value: 0 < value <= 1, "above 0 and up to 1")
        check_each("optimizer.checks", self.checks, lambda value: value >= 1, "a number from 1")
        check_each("optimizer.epochs", self.epochs, lambda value: value > 0, "more than 0")

    def checks_until(self, epoch: float) -> int:
        """How many checks are due by `epoch`."""
        return min(self.checks, int(epoch / (self.epochs * self.within) * self.checks))

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """As backpropagation's at the largest size, the first, and the matrices of a check of the largest unit.

        These live alone, between steps; that the convention counts them with all else makes it an upper bound.
        """
        whole = super().memory(table, batch_size)
        states = max((row.shapes[0][0] for row in table.rows if row.kind == LRU.__name__ and row.shapes), default=0)
        return replace(whole, optimizer_state=whole.optimizer_state + MATRICES * 16 * states**2)

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        """Raises ValueError for a model that has no linear recurrent units, or whose units are frozen."""
        check_floats(model, "compressm")
        units = {name: module for name, module in model.named_modules() if isinstance(module, LRU)}
        if not units:
            raise ValueError(
                f"optimizer=compressm leaves out states of linear recurrent units, and {type(model).__name__} has "
                "none; choose model=lru, or optimizer=bp"
            )
        trained = {name for name, _ in trained_parameters(model)}
        frozen = [name for name in units if f"{name}.nu" not in trained]
        if frozen:
            raise ValueError(f"optimizer=compressm shrinks {frozen[0]}, which is frozen; choose adapter=none")
        return CompreSSMLearner(self, model, objective, seed, units)


class CompreSSMLearner(BackpropLearner):
    def __init__(
        self, optimizer: CompreSSM, model: nn.Module, objective: Objective, seed: int, units: dict[str, LRU]
    ) -> None:
        super().__init__(optimizer, model, objective, seed)
        self._checks = optimizer
        self._units = units
        self._stepper = self._apart = Apart(partial(optimizer.rule.begin, seed=seed), model, tuple(units))
        self._made = 0  # checks
        self._positions = 0  # steps of all examples of a batch

    def step(self, batch: Batch) -> Report:
        """A check that is due comes first. After the second step one is made whose result is not taken: so two steps
        hold all that any will, and who measures or rehearses two of them sees it."""
        due = self._checks.checks_until(batch.epoch)
        if due > self._made:
            with self.phases("check"):
                self._shrink()
            self._made = due
        if not self._positions:
            self._note_positions()
        report = super().step(batch)
        if batch.step == STEPS_TO_PEAK - 1:
            with self.phases("check"):
                for unit in self._units.values():
                    self._smaller(unit)
        return replace(report, scalars=self._sizes())

    @torch.no_grad()
    def _smaller(self, unit: LRU) -> System | None:
        """What `unit` computes with fewer states; None where that is not worth it, and of a unit that diverged, which
        the next loss will tell."""
        system = unit.system()
        if not math.isfinite(sum(float(part.abs().sum()) for part in vars(system).values())):
            return None
        balanced = balancing(system)
        needed = states_needed(balanced.singular, self._checks.left_out)
        smaller = truncated(system, balanced, needed)
        return smaller if needed < self._checks.worth * unit.states else None

    def _shrink(self) -> None:
        for name, unit in self._units.items():
            smaller = self._smaller(unit)
            if smaller is not None:
                unit.take_(smaller)
                self._apart.begin_anew(name)

    def _sizes(self) -> dict[str, float]:
        states = sum(unit.states for unit in self._units.values())
        return {
            "states": states,
            "states_bytes": 8 * states * self._positions,  # complex numbers kept for the backward pass
            "parameter_bytes": sum(parameter.nbytes for parameter in self._model.parameters()),
        }

    def _note_positions(self) -> None:
        def note(unit: nn.Module, given: tuple[torch.Tensor], _: torch.Tensor) -> None:
            self._positions = math.prod(given[0].shape[:-1])
            handle.remove()

        handle = next(iter(self._units.values())).register_forward_hook(note)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "checks": self._made}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._model.load_state_dict(state["model"])  # which gives units as many states as were saved
        self._apart.begin_all_anew()
        super().load_state_dict(state)
        self._made = state["checks"]


class Apart:
    """Steps each unit by a stepper of its own, which can be begun anew, and all other parameters by one more."""

    def __init__(self, begin: Callable[[Named], Stepper], model: nn.Module, units: tuple[str, ...]) -> None:
        self._begin, self._model, self._units = begin, model, units
        self._steppers: dict[str, Stepper] = {}
        self.begin_all_anew()

    def begin_all_anew(self) -> None:
        for name in ("", *self._units):
            self.begin_anew(name)

    def begin_anew(self, unit: str) -> None:
        """Forget what the rule knew of the parameters of `unit`, which may be others now; "": of those in none."""
        named = [
            (name, parameter) for name, parameter in trained_parameters(self._model) if self._unit_of(name) == unit
        ]
        self._steppers[unit] = self._begin(named)

    def _unit_of(self, parameter: str) -> str:
        module = parameter.rpartition(".")[0]
        return module if module in self._units else ""

    def step_(self, lr: float) -> None:
        for stepper in self._steppers.values():
            stepper.step_(lr)

    def state_dict(self) -> dict[str, Any]:
        return {name: stepper.state_dict() for name, stepper in self._steppers.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, stepper in self._steppers.items():
            stepper.load_state_dict(state[name])
