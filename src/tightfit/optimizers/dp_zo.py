"""DP-ZO: MeZO whose slope is private (Tang et al., 2024, arXiv 2401.04343; Zhang et al., 2023, DPZero).

All that a step learns of its examples is one number: Δᵢ = Lᵢ(θ + eps z) − Lᵢ(θ − eps z) of each, bounded to [−C, C],
summed, with one Gaussian number ξ of deviation σ C added: the slope is (Σ Δᵢ + ξ) / (2 eps b). The direction z says
nothing of them. One ξ for all weights: a public code draws one for each tensor, whose mean the whole step sees.

The account: an example is in at most one step of an epoch, so it takes part as often as epochs have begun, and being
there or not moves each sum by C at most. No gain is claimed from the choice of batches. What holds for the weights does
not for the record of a run: its training losses are those of the examples, and its seed tells the noise. Keep it, and
publish the weights. For the same reason such a run leaves no log of losses to be rebuilt from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerTable
from tightfit.numerics.seeds import derive
from tightfit.optimizers.base import Batch, Learner, Objective, Report, without_notes
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.privacy import check_accountant, epsilon
from tightfit.optimizers.schedules import check_each, check_positive
from tightfit.optimizers.suitability import check_floats
from tightfit.optimizers.zeroth_order import ZerothOrderLearner, bounded, check_passes

LOSS_BYTES = 4
ALMOST = 1e-9  # of an epoch: what rounding adds to the end of one


@dataclass(frozen=True)
class DPZO(MeZO):
    """As MeZO, with one direction a step. bound: C; noise_multiplier: σ; delta: at which ε is accounted and reported,
    None for no account; fraction: of the full protocol that is trained, by which epochs are counted."""

    bound: float = field(default=1.0, kw_only=True)
    noise_multiplier: float = field(default=1.0, kw_only=True)
    delta: float | None = field(default=None, kw_only=True)
    fraction: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("optimizer.bound", self.bound)
        check_each("optimizer.noise_multiplier", self.noise_multiplier, lambda s: 0 <= s < math.inf, "finite, from 0")
        check_positive("optimizer.fraction", self.fraction)
        if self.delta is not None:
            check_each("optimizer.delta", self.delta, lambda delta: 0 < delta < 1, "between 0 and 1")
        if self.queries != 1:
            raise ValueError(f"queries={self.queries} but dp_zo gives away one slope a step; choose queries=1")
        if self.noise_multiplier and math.isinf(self.bound):
            raise ValueError("optimizer.bound=inf but noise hides no unbounded loss; choose a finite bound")
        check_passes(self.direction, "dp_zo")
        if self.direction.slope_in_loss_type:
            raise ValueError(f"direction={self.direction.noise} replays a code without privacy; choose another")

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """As MeZO's, and the losses of each example at both ends."""
        plain = super().memory(table, batch_size)
        return replace(plain, activations=plain.activations + 2 * LOSS_BYTES * batch_size)

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        check_floats(model, "dp_zo")
        check_each_by_itself(model)
        if self.delta is not None:
            check_accountant()
            epsilon(self.noise_multiplier, 1, self.delta)  # imports the accountant, before the clock runs
        return DPZOLearner(self, model, objective, seed)


def check_each_by_itself(model: nn.Module) -> None:
    """Raise ValueError where an example's loss depends on others of its batch."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                f"optimizer=dp_zo bounds the loss of each example by itself, but {name} normalises over their batch; "
                "choose a model without batch normalisation"
            )


class DPZOLearner(ZerothOrderLearner):
    def __init__(self, optimizer: DPZO, model: nn.Module, objective: Objective, seed: int) -> None:
        super().__init__(optimizer, model, without_notes(objective), trained_parameters(model), seed)
        self._private, self._seed = optimizer, seed

    def step(self, batch: Batch) -> Report:
        lr, eps, clip = self.values_at(batch.epoch)
        plus, minus = (self._losses_of_examples(batch, scale) for scale in (eps, -eps))
        differences = (plus.double() - minus.double()).clamp_(-self._private.bound, self._private.bound)
        slope = (differences.sum().item() + self._noise(batch.step)) / len(batch.labels) / (2 * eps)
        with self.phases("update"):
            self._update(lr, [bounded(slope, clip)], batch)
        loss = (plus.double().mean().item() + minus.double().mean().item()) / 2
        return Report(loss, 2, 0, {"slope": bounded(slope, clip), **self._account(batch)})

    @torch.no_grad()
    def _losses_of_examples(self, batch: Batch, scale: float) -> torch.Tensor:
        """The loss of each example, (b,), at weights moved by `scale` along the direction."""
        with self._moved(batch, scale, 0):
            logits = self._model(batch.inputs)
            return torch.stack([self._loss_of(batch, logits, index) for index in range(len(batch.labels))])

    def _loss_of(self, batch: Batch, logits: torch.Tensor, index: int) -> torch.Tensor:
        one = slice(index, index + 1)
        alone = replace(batch, inputs=batch.inputs[one], labels=batch.labels[one])
        return self._objective(lambda _: logits[one], alone)

    def _noise(self, step: int) -> float:
        """ξ, a function of (root seed, step) alone, by a stream of its own."""
        drawn = np.random.Generator(np.random.Philox(key=derive(self._seed, "private noise", step))).standard_normal()
        return self._private.noise_multiplier * self._private.bound * drawn if self._private.noise_multiplier else 0.0

    def _account(self, batch: Batch) -> dict[str, float]:
        """What the weights after this step give away."""
        if self._private.delta is None:
            return {}
        return {"epsilon": epsilon(self._private.noise_multiplier, self._epochs_begun(batch), self._private.delta)}

    def _epochs_begun(self, batch: Batch) -> int:
        """Of the data, at the end of this step: never fewer than there were."""
        at_end = batch.epoch * (batch.step + 1) / batch.step if batch.step else 0.0
        return max(1, math.ceil(at_end * self._private.fraction - ALMOST))

    @property
    def obstacle_to_stacking(self) -> str:
        return "the host bounds the losses of each example"
