"""ElasticZO: zeroth-order for the first layers, backpropagation for the last (Sugiura and Matsutani, 2025, Alg. 1).

The two perturbed forward passes that MeZO needs anyway also give the last layers their activations, so they
are trained by ordinary gradients for almost no extra memory and no third forward. The paper does not say
which of the two passes feeds the gradients; `bp_pass` is that choice. Both draw the same masks of dropout.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from tightfit.clock import Phases
from tightfit.memory.breakdown import Breakdown
from tightfit.memory.parts import trained_blocks, trained_parameters
from tightfit.memory.table import (
    LayerTable,
    check_layer_count,
    largest_trained_bytes,
    output_bytes,
    parameter_bytes,
    trained_bytes,
)
from tightfit.numerics.draws import Draws
from tightfit.numerics.perturbation import KernelName, Noise, Perturbation, check_noise
from tightfit.numerics.probes import Restore, check_restore, probe_for
from tightfit.numerics.rounding import check_rounding
from tightfit.optimizers.base import Batch, Learner, Objective, Report, is_noted
from tightfit.optimizers.bp_sgd import descend_
from tightfit.optimizers.mezo import check_slope, clipped_slope
from tightfit.optimizers.suitability import check_floats
from tightfit.optimizers.weights_only import WeightsOnly
from tightfit.schedules import Schedulable, check_rate, value_at

BPPass = Literal["minus", "plus", "mean"]


@dataclass(frozen=True)
class ElasticZO:
    """lr: learning rate of the zeroth-order layers; bp_lr: of the backpropagated ones; bp_layers: how many of
    the last layers with weights are backpropagated (0: all zeroth-order); bp_pass: the perturbed pass whose
    activations give the gradients, or the mean over both; eps, clip, noise, kernel, restore: as in MeZO."""

    lr: Schedulable
    bp_lr: Schedulable
    eps: Schedulable
    bp_layers: int
    clip: Schedulable = float("inf")
    bp_pass: BPPass = "minus"
    noise: Noise = "gaussian"
    kernel: KernelName = "auto"
    restore: Restore = "merged"
    name: str = "elastic_zo"

    def __post_init__(self) -> None:
        if self.bp_pass not in ("minus", "plus", "mean"):
            raise ValueError(f"bp_pass={self.bp_pass!r} is not a pass; choose minus, plus or mean")
        check_rate("optimizer.lr", self.lr)
        check_rate("optimizer.bp_lr", self.bp_lr)
        check_slope(self.eps, self.clip)
        check_noise(self.noise, self.kernel)
        check_restore(self.restore)

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """Inference, and for the last `bp_layers` layers with weights and all after them gradients and errors.

        With restore=exact, the moved copy of the largest zeroth-order layer counts as parameters too.
        Raises ValueError when the model has fewer layers with weights. Source: ElasticZO, eq. 4.
        """
        tail = table.last(self.bp_layers)
        head = table.rows[: len(table.rows) - len(tail)]
        copied = largest_trained_bytes(head) if self.restore == "exact" else 0
        return Breakdown(
            parameters=parameter_bytes(table.rows) + copied,
            activations=output_bytes(table.rows, batch_size),
            gradients=trained_bytes(tail),
            errors=output_bytes(tail, batch_size),
        )

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        return ElasticZOLearner(self, model, objective, seed)


class ElasticZOLearner(WeightsOnly):
    def __init__(self, optimizer: ElasticZO, model: nn.Module, objective: Objective, seed: int) -> None:
        self.phases = Phases()
        self._optimizer = optimizer
        self._model = model
        self._objective = objective
        self._draws = Draws(model, seed)
        check_floats(model, optimizer.name)
        zeroth_order, last = split_at(model, optimizer.bp_layers)
        self.undifferentiated = [p for p in model.parameters() if p.requires_grad and id(p) not in last]
        check_rounding((parameter for _, parameter in zeroth_order), value_at(optimizer.eps, 0.0))
        perturbation = Perturbation(zeroth_order, seed, noise=optimizer.noise, kernel=optimizer.kernel)
        self._probe = probe_for(optimizer.restore, model, perturbation)

    def step(self, batch: Batch) -> Report:
        optimizer = self._optimizer
        lr, eps, clip = (value_at(h, batch.epoch) for h in (optimizer.lr, optimizer.eps, optimizer.clip))
        plus = self._loss_and_gradients(batch, eps, feeds_bp=optimizer.bp_pass != "minus")
        minus = self._loss_and_gradients(batch, -eps, feeds_bp=optimizer.bp_pass != "plus")
        slope = clipped_slope(plus, minus, eps, clip)
        with self.phases("update"):
            self._probe.update_(lr, slope, batch.step)
            gradients_summed = 2 if optimizer.bp_pass == "mean" else 1
            descend_(self._model, value_at(optimizer.bp_lr, batch.epoch) / gradients_summed)
        backward_passes = gradients_summed if optimizer.bp_layers else 0
        return Report((plus + minus) / 2, 2, backward_passes, scalars={"slope": slope})

    def _loss_and_gradients(self, batch: Batch, scale: float, feeds_bp: bool) -> float:
        """The loss with the zeroth-order layers moved by `scale` × z; where it feeds BP, its gradients are added to
        those kept."""
        feeds_bp = feeds_bp and self._optimizer.bp_layers > 0
        with self.phases("perturb"):
            moved = self._probe.at(scale, batch.step, without_pass=is_noted(self._objective))
        kept = without_gradients(self.undifferentiated) if feeds_bp else torch.no_grad()
        with self.phases("forward"), moved, kept, self._draws.of(batch.step):
            loss = self._objective(self._model, batch)
        if feeds_bp:
            with self.phases("backward"):
                loss.backward()
        return loss.item()


def split_at(model: nn.Module, bp_layers: int) -> tuple[list[tuple[str, nn.Parameter]], set[int]]:
    """The trained parameters before the last `bp_layers` layers with weights, and the identities of those in them.

    Raises ValueError when the model has fewer layers with weights.
    """
    blocks = list(trained_blocks(model).values())
    check_layer_count(bp_layers, len(blocks), type(model).__name__)
    last = {id(p) for block in blocks[len(blocks) - bp_layers :] for p in block}
    return [(name, p) for name, p in trained_parameters(model) if id(p) not in last], last


@contextmanager
def without_gradients(parameters: list[nn.Parameter]) -> Generator[None]:
    """Inside, `parameters` require no gradients: autograd keeps nothing of them, which is where memory is saved."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
