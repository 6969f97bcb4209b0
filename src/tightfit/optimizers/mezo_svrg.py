"""MeZO-SVRG: MeZO on small batches, corrected by a slope over a large one (Gautam et al., 2024, arXiv 2404.08080).

At an anchor θ̄ slopes ḡ are taken over a large batch, along directions z̄ that are kept by their seeds, and the weights
move by −anchor_lr ḡ z̄. The steps after it take the slope s of their batch along z twice, at the weights θ and at θ̄, and
move by −lr ((s(θ) − s(θ̄)) z + ḡ z̄): what a small batch adds to the slope is mostly the same at both, and cancels.

The large batch is `anchor_batches` batches in a row, at weights that stand still; as many as an epoch has are all of
the examples. So a cycle takes `anchor_batches` steps for the anchor and `period` − 1 after it.

Both slopes of a step are taken along one z. The public code draws another for θ̄, so that nothing cancels; and its copy
of θ̄ is another name for the weights, which have moved. Neither is kept here, nor its division of both rates once the
loss stands still: give them schedules.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.cost import Cost
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerTable, trained_bytes
from tightfit.numerics.noise.probes import LayerByLayer, Probe
from tightfit.optimizers.base import Batch, Facts, Learner, Objective, Report
from tightfit.optimizers.descents.plain import check_plain
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.schedules import Schedulable, check_rate, value_at
from tightfit.optimizers.suitability import check_floats
from tightfit.optimizers.zeroth_order import ZerothOrderLearner, bounded, slopes_of

UNBOUNDED = float("inf")


@dataclass(frozen=True)
class MeZOSVRG(MeZO):
    """As MeZO, along independent numbers. lr: rate of the steps after an anchor; anchor_lr: of the one at it;
    period: moves from one anchor to the next, 1 for anchors alone; anchor_batches: batches of an anchor's slope;
    clip: bound on |ḡ| and on |s(θ) − s(θ̄)|."""

    anchor_lr: Schedulable = field(kw_only=True)
    period: int = field(default=2, kw_only=True)
    anchor_batches: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_plain(self.descent, "mezo_svrg")
        check_rate("optimizer.anchor_lr", self.anchor_lr)
        for name in ("period", "anchor_batches"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value} but a cycle has an anchor of at least one batch; choose 1 or more")
        if self.growth is not None:
            raise ValueError("growth says how directions become more, but mezo_svrg has an anchor's; leave it null")
        if not isinstance(self.direction, Independent):
            raise ValueError(
                f"direction={self.direction.noise} but mezo_svrg returns to the directions of an anchor; "
                "choose direction=gaussian, or another of independent numbers"
            )

    @property
    def cycle(self) -> int:
        """Steps from one anchor to the next."""
        return self.anchor_batches + self.period - 1

    @property
    def has_corrections(self) -> bool:
        """Whether there are steps beside those at anchors."""
        return self.period > 1

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """As MeZO's, and the trained weights at the anchor."""
        plain = super().memory(table, batch_size)
        anchor = trained_bytes(table.rows) if self.has_corrections else 0
        return replace(plain, optimizer_state=plain.optimizer_state + anchor)

    def cost(self, table: LayerTable, batch_size: int) -> Cost:
        """The mean over a cycle. A step after an anchor takes slopes at two places and makes moves of two kinds."""
        anchors, others, place = self.anchor_batches, self.period - 1, self.sweeps
        return Cost(
            forward=2 * self.queries * (anchors + 2 * others) / self.cycle,
            sweeps=(place * anchors + (2 * place + self.queries) * others + self.has_corrections) / self.cycle,
        )

    def facts(self) -> Facts:
        return replace(super().facts(), forward_passes=(4 if self.has_corrections else 2) * self.queries)

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        check_floats(model, "mezo_svrg")
        return MeZOSVRGLearner(self, model, objective, seed)


class MeZOSVRGLearner(ZerothOrderLearner):
    def __init__(self, optimizer: MeZOSVRG, model: nn.Module, objective: Objective, seed: int) -> None:
        parameters = trained_parameters(model)
        super().__init__(optimizer, model, objective, parameters, seed)
        self._svrg = optimizer
        self._slopes = [0.0] * optimizer.queries  # of the anchor: their sums until its last batch, then ḡ
        self._anchor: dict[str, torch.Tensor] = {}
        if not optimizer.has_corrections:
            return
        self._parameters = dict(parameters)
        self._anchor = {name: parameter.detach().clone() for name, parameter in parameters}
        with self._pointing_at_anchor():  # so that this probe moves the model from there
            self._probe_of_anchor = optimizer.direction.probe(
                model, parameters, seed, optimizer.queries, optimizer.restore
            )

    def step(self, batch: Batch) -> Report:
        position = batch.step % self._svrg.cycle
        if position < self._svrg.anchor_batches:
            return self._step_at_anchor(batch, position)
        return self._step_after_anchor(batch, position)

    def _step_at_anchor(self, batch: Batch, position: int) -> Report:
        _, eps, clip = self.values_at(batch.epoch)
        of_anchor, count = self._at_start(batch, position), self._svrg.anchor_batches
        if position == 0:
            self._slopes = [0.0] * len(self._slopes)
            self._stand_at_anchor()
        losses = self._losses_of_step(of_anchor, eps)
        slopes = slopes_of(losses, eps, UNBOUNDED)
        self._slopes = [total + slope for total, slope in zip(self._slopes, slopes, strict=True)]
        if position == count - 1:
            self._slopes = [bounded(total / count, clip) for total in self._slopes]
            with self.phases("update"):
                self._update(value_at(self._svrg.anchor_lr, batch.epoch), self._slopes, of_anchor)
        return self.report_of(losses, eps, clip)

    def _step_after_anchor(self, batch: Batch, position: int) -> Report:
        lr, eps, clip = self.values_at(batch.epoch)
        losses = self._losses_of_step(batch, eps)
        with self._at_anchor():
            losses_at_anchor = self._losses_of_step(batch, eps)
        both = zip(slopes_of(losses, eps, UNBOUNDED), slopes_of(losses_at_anchor, eps, UNBOUNDED), strict=True)
        with self.phases("update"):
            self._update(lr, [bounded(here - there, clip) for here, there in both], batch)
            self._update(lr, self._slopes, self._at_start(batch, position))
        return replace(self.report_of(losses, eps, clip), forward_passes=2 * len(losses))

    def _at_start(self, batch: Batch, position: int) -> Batch:
        """The batch of this step, along the directions of the anchor's first."""
        return replace(batch, step=batch.step - position)

    @torch.no_grad()
    def _stand_at_anchor(self) -> None:
        """The weights become the anchor."""
        if self._anchor:
            self.resting_model()
            for name, weights in self._anchor.items():
                weights.copy_(self._parameters[name])

    @contextmanager
    def _at_anchor(self) -> Generator[None]:
        """Inside, losses are taken around the anchor. Copies of layers that wait for the next use wait for one probe
        at a time."""
        own, self._probe = self._probe, self._probe_of_anchor
        release(own)
        try:
            with self._pointing_at_anchor():
                yield
                self._probe.rest()
        finally:
            release(self._probe)
            self._probe = own

    @contextmanager
    def _pointing_at_anchor(self) -> Generator[None]:
        """Inside, the parameters are the numbers of the anchor; the weights lie where they were, untouched."""
        own = {name: parameter.data for name, parameter in self._parameters.items()}
        for name, weights in self._anchor.items():
            self._parameters[name].data = weights
        try:
            yield
        finally:
            for name, weights in own.items():
                self._parameters[name].data = weights

    @property
    def obstacle_to_stacking(self) -> str:
        return "the host corrects slopes by those of an anchor"

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "anchor": self._anchor, "slopes": list(self._slopes)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._slopes = list(state["slopes"])
        for name, weights in self._anchor.items():
            weights.copy_(state["anchor"][name])


def release(probe: Probe) -> None:
    if isinstance(probe, LayerByLayer):
        probe.release()
