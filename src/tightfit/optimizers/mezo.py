"""MeZO: zeroth-order training with the memory of inference (Malladi et al., 2023; Full ZO in ElasticZO).

Two forward passes at weights moved by ±eps along a random direction z give the slope of the loss along it;
the weights then move along z in proportion. z is regenerated from its seed each time, never stored. All passes of a
step draw the same masks of dropout (see `numerics.draws`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from tightfit.clock import Phases
from tightfit.memory.breakdown import Breakdown
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerTable, largest_trained_bytes, output_bytes, parameter_bytes
from tightfit.numerics import published
from tightfit.numerics.draws import Draws
from tightfit.numerics.perturbation import KernelName, Noise, Perturbation, check_noise
from tightfit.numerics.probes import Probe, Restore, check_restore, probe_for
from tightfit.numerics.rounding import check_rounding
from tightfit.optimizers.base import Batch, Learner, Objective, Report, is_noted
from tightfit.optimizers.suitability import check_floats
from tightfit.optimizers.weights_only import WeightsOnly
from tightfit.schedules import Schedulable, check_each, check_positive, check_rate, value_at


@dataclass(frozen=True)
class MeZO:
    """lr: learning rate; eps: length of the perturbation; clip: bound on |slope|, which keeps training
    from scratch stable; queries: directions whose estimates are averaged in each step; noise: what directions are
    made of; kernel: how they are added (in the same numbers, in more or less time); restore: how the weights
    return from a probe, merged with the update or exactly (see `numerics.probes`). noise=torch_legacy replays the
    authors' code, bit for bit where clip is infinite (see `numerics.published`). Parameters that do not require
    gradients when a model is bound stay as they are."""

    lr: Schedulable
    eps: Schedulable
    clip: Schedulable = float("inf")
    queries: int = 1
    noise: Noise | Literal["torch_legacy"] = "gaussian"
    kernel: KernelName = "auto"
    restore: Restore = "merged"
    name: str = "mezo"

    def __post_init__(self) -> None:
        check_queries(self.queries)
        check_rate("optimizer.lr", self.lr)
        check_slope(self.eps, self.clip)
        if self.noise == published.NAME:
            published.check_published(self.queries, self.kernel, self.restore)
        else:
            check_noise(self.noise, self.kernel)
        check_restore(self.restore)

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """Exactly inference: parameters and activations (ElasticZO, eq. 3). What moves the weights counts as parameters
        too: the copy of the largest layer under restore=exact, and three such tensors under noise=torch_legacy."""
        copies = published.TENSORS_HELD if self.noise == published.NAME else int(self.restore == "exact")
        return Breakdown(
            parameters=parameter_bytes(table.rows) + copies * largest_trained_bytes(table.rows),
            activations=output_bytes(table.rows, batch_size),
        )

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        return MeZOLearner(self, model, objective, seed)


class MeZOLearner(WeightsOnly):
    def __init__(self, optimizer: MeZO, model: nn.Module, objective: Objective, seed: int) -> None:
        self.phases = Phases()
        self._optimizer = optimizer
        self._model = model
        self._objective = objective
        self._draws = Draws(model, seed)
        check_floats(model, optimizer.name)
        trained = trained_parameters(model)
        self.undifferentiated = [parameter for _, parameter in trained]
        check_rounding((parameter for _, parameter in trained), value_at(optimizer.eps, 0.0))
        self._probe = self._probe_of(trained, seed)

    def _probe_of(self, parameters: list[tuple[str, nn.Parameter]], seed: int) -> Probe:
        optimizer = self._optimizer
        if optimizer.noise == published.NAME:
            self._model.eval()
            return published.Published(parameters, seed)
        perturbation = Perturbation(parameters, seed, optimizer.queries, optimizer.noise, optimizer.kernel)
        return probe_for(optimizer.restore, self._model, perturbation)

    @torch.no_grad()
    def step(self, batch: Batch) -> Report:
        optimizer, queries = self._optimizer, self._optimizer.queries
        lr, eps, clip = (value_at(h, batch.epoch) for h in (optimizer.lr, optimizer.eps, optimizer.clip))
        slopes, losses = [], []
        for query in range(queries):  # all slopes are taken at the same weights
            plus = self._loss(batch, eps, query)
            minus = self._loss(batch, -eps, query)
            slopes.append(clipped_slope(plus, minus, eps, clip))
            losses.append((float(plus) + float(minus)) / 2)
        for query in [queries - 1, *range(queries - 1)]:  # first the last: on the way back from its probe
            with self.phases("update"):
                self._probe.update_(lr, slopes[query], batch.step, query)
        return Report(sum(losses) / queries, 2 * queries, backward_passes=0, scalars={"slope": slopes[-1]})

    def _loss(self, batch: Batch, scale: float, query: int) -> float | torch.Tensor:
        """A number, or what it was before that for the published arithmetic."""
        with self.phases("perturb"):
            moved = self._probe.at(scale, batch.step, query, without_pass=is_noted(self._objective))
        with self.phases("forward"), moved, self._draws.of(batch.step):
            loss = self._objective(self._model, batch)
            return loss if self._optimizer.noise == published.NAME else loss.item()


def check_queries(queries: int) -> None:
    if not isinstance(queries, int) or queries < 1:
        raise ValueError(f"queries={queries} but a step needs at least one direction; choose 1 or more")


def check_slope(eps: Schedulable, clip: Schedulable) -> None:
    """Raise ValueError for a length of perturbations that has no slope, or a bound that leaves none."""
    check_each("optimizer.eps", eps, lambda value: 0 < value < math.inf, "more than 0 and finite")
    check_positive("optimizer.clip", clip)


def clipped_slope(plus: float | torch.Tensor, minus: float | torch.Tensor, eps: float, clip: float) -> float:
    """(plus − minus) / 2 eps, the slope of the loss along the direction probed, bounded to [−clip, clip].

    Taken in the type of the losses: float64 for numbers, a tensor's own otherwise.
    A loss that is not a number stays so: the runner then ends the run as diverged.
    """
    slope = float((plus - minus) / (2 * eps))
    return slope if slope != slope else max(-clip, min(clip, slope))
