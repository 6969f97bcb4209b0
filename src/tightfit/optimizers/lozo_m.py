"""LOZO-M: LOZO with momentum that is kept in its factors (Chen et al., 2024, arXiv 2410.07698).

All directions of a period share V, so a fading sum of estimates s U Vᵀ is N Vᵀ with N ← β N + (1 − β) s U: of an m × n
matrix m r numbers are kept in place of m n. When V is drawn anew, N becomes N V_oldᵀ V_new / n, the part of the sum
that the new columns can say: about √(r / n) of its length, so the momentum nearly starts over. A tensor of one axis
keeps a number for each of its own. The weights move along N Vᵀ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.cost import Cost
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerTable
from tightfit.numerics.noise.counter_noise import write_sum
from tightfit.numerics.noise.factored import LazyStream
from tightfit.numerics.noise.perturbation import Perturbation, shared_out
from tightfit.numerics.noise.probes import InPlace, LayerByLayer
from tightfit.numerics.noise.rounding import within
from tightfit.numerics.noise.streams import PIECE, CounterStream, Stream
from tightfit.numerics.threads import share_out, threads_for
from tightfit.optimizers.base import Batch, Facts, Learner, Objective
from tightfit.optimizers.descents.plain import check_plain
from tightfit.optimizers.directions.low_rank import FLOAT32_BYTES, LAZY, LowRank, is_matrix
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.suitability import check_floats
from tightfit.optimizers.zeroth_order import ZerothOrderLearner


@dataclass(frozen=True)
class LOZOM(MeZO):
    """As MeZO, along directions of low rank. beta: what is left of the momentum a step later, from 0 to less than 1."""

    direction: LowRank = LAZY
    beta: float = field(default=0.9, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.direction, LowRank):
            raise ValueError("lozo_m keeps the factors of directions of low rank; choose direction=low_rank")
        check_plain(self.descent, "lozo_m")
        if not 0 <= self.beta < 1:
            raise ValueError(f"optimizer.beta={self.beta} but momentum must fade; choose from 0 to less than 1")

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """As MeZO, and r numbers for each row of a matrix, one for each number of another tensor."""
        held = super().memory(table, batch_size)
        kept = sum(self._numbers_kept(shape) for row in table.rows for shape in row.shapes)
        return Breakdown(held.parameters, held.activations, optimizer_state=FLOAT32_BYTES * kept)

    def _numbers_kept(self, shape: tuple[int, ...]) -> int:
        if not is_matrix(shape):
            return math.prod(shape)
        return shape[0] * min(self.direction.rank, shape[0], math.prod(shape[1:]))

    def facts(self) -> Facts:
        return replace(super().facts(), descent="factors")

    def cost(self, table: LayerTable, batch_size: int) -> Cost:
        """The update is a sweep of its own; merged, the weights return from the last probe before."""
        sweeps = self.sweeps_to_ends + (2 if self.restore == "merged" else 1)
        return Cost(forward=2 * self.queries, sweeps=sweeps, together=self.direction.together)

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        check_floats(model, "lozo_m")
        return LOZOMLearner(self, model, objective, trained_parameters(model), seed)


class LOZOMLearner(ZerothOrderLearner):
    def __init__(
        self,
        optimizer: LOZOM,
        model: nn.Module,
        objective: Objective,
        parameters: list[tuple[str, nn.Parameter]],
        seed: int,
    ) -> None:
        super().__init__(optimizer, model, objective, parameters, seed)
        assert isinstance(self._probe, InPlace | LayerByLayer)
        along, by_chance = self._probe.perturbation, optimizer.restore == "exact"
        self._momenta = {
            name: momentum_of(along.streams[parameter], along, optimizer.beta, by_chance)
            for name, parameter in parameters
        }

    @torch.no_grad()
    def _update(self, lr: float, slopes: list[float], batch: Batch) -> None:
        self._probe.rest()
        for momentum in self._momenta.values():
            momentum.step_(lr, slopes, batch.step)

    @property
    def obstacle_to_stacking(self) -> str:
        return "the host steps the momentum of lozo_m"

    def state_dict(self) -> dict[str, Any]:
        kept = {name: momentum.state() for name, momentum in self._momenta.items()}
        return {**super().state_dict(), "momenta": {name: state for name, state in kept.items() if state}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for name, momentum in self._momenta.items():
            momentum.load_state(state["momenta"].get(name, {}))


class Momentum:
    """Of one tensor. by_chance: how sums are rounded to 16 bits. What is kept is allocated by the first step."""

    def __init__(self, stream: Stream, along: Perturbation, beta: float, by_chance: bool) -> None:
        self._weights, self._along, self._beta, self._by_chance = stream.weights, along, beta, by_chance
        self._kept: torch.Tensor | None = None

    def step_(self, lr: float, slopes: Sequence[float], step: int) -> None:
        """Take in the slopes along all directions of `step`, and move the weights at the rate `lr`."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        return {} if self._kept is None else {"kept": self._kept}

    def load_state(self, state: dict[str, Any]) -> None:
        kept = state.get("kept")
        self._kept = None if kept is None else kept.to(self._weights.device, copy=True)

    def _renewed(self, kept: torch.Tensor, parts: Sequence[torch.Tensor], slopes: Sequence[float]) -> torch.Tensor:
        """`kept`, now β times itself and 1 − β times the mean of slope × part."""
        kept.mul_(self._beta)
        for part, slope in zip(parts, slopes, strict=True):
            kept.add_(part, alpha=within((1 - self._beta) * slope / len(slopes), torch.float32))
        return kept


class MomentumOfMatrix(Momentum):
    """Keeps N, as (r, m)."""

    def __init__(self, stream: LazyStream, along: Perturbation, beta: float, by_chance: bool) -> None:
        super().__init__(stream, along, beta, by_chance)
        self._stream = stream
        self._period = 0

    def step_(self, lr: float, slopes: Sequence[float], step: int) -> None:
        stream, counters = self._stream, [self._along.counter(step, query) for query in range(len(slopes))]
        period = stream.period_of(step)
        columns, rows = stream.columns(period), [stream.rows(counter) for counter in counters]
        if self._kept is None:
            self._kept = torch.zeros_like(rows[0])
        elif period != self._period:
            self._kept = self._carried_over(self._kept, columns)
        self._period = period
        self._renewed(self._kept, rows, slopes)
        if lr:  # adding zeros would turn −0 into 0
            draw = stream.product(self._kept, columns)
            works = stream.work_of(draw, stream.weights, -lr, counters[0], self._by_chance)
            share_out(works, threads_for(shared_out([stream])))

    def _carried_over(self, kept: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """N V_oldᵀ V_new / n, by numbers of 64 bits: after rounding no order of sums is seen."""
        overlap = columns.double() @ self._stream.columns(self._period).double().t() / columns.shape[1]
        return (overlap @ kept.double()).float()

    def state(self) -> dict[str, Any]:
        return {**super().state(), "period": self._period}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._period = state["period"]


class MomentumOfVector(Momentum):
    """Keeps a number for each weight, flat."""

    def __init__(self, stream: CounterStream, along: Perturbation, beta: float, by_chance: bool) -> None:
        super().__init__(stream, along, beta, by_chance)
        self._stream = stream

    def step_(self, lr: float, slopes: Sequence[float], step: int) -> None:
        if self._kept is None:
            self._kept = torch.zeros(len(self._weights), device=self._weights.device)
        counters = [self._along.counter(step, query) for query in range(len(slopes))]
        rounding = self._stream.keys.of_rounding(counters[0]) if self._by_chance else None
        draws = zip(*map(self._stream.draws, counters), strict=True)
        for number, (weights, kept) in enumerate(zip(self._weights.split(PIECE), self._kept.split(PIECE), strict=True)):
            change = self._renewed(kept, next(draws), slopes) * -lr
            if lr:
                write_sum(weights, weights, change, rounding, number * PIECE)


def momentum_of(stream: Stream, along: Perturbation, beta: float, by_chance: bool) -> Momentum:
    if isinstance(stream, LazyStream):
        return MomentumOfMatrix(stream, along, beta, by_chance)
    assert isinstance(stream, CounterStream)
    return MomentumOfVector(stream, along, beta, by_chance)
