"""ElasticZO: zeroth-order for the first layers, backpropagation for the last (Sugiura and Matsutani, 2025, Alg. 1).

The two perturbed forward passes that MeZO needs anyway also give the last layers their activations, so they
are trained by ordinary gradients for almost no extra memory and no third forward. The paper does not say
which of the two passes feeds the gradients; `bp_pass` is that choice.
"""

from __future__ import annotations

from contextlib import nullcontext
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
from tightfit.numerics.perturbation import KernelName, Noise, Perturbation, check_noise
from tightfit.numerics.probes import Restore, check_restore, probe_for
from tightfit.numerics.rounding import check_rounding
from tightfit.optimizers.base import Batch, Learner, Objective, Report
from tightfit.optimizers.bp_sgd import descend_
from tightfit.optimizers.mezo import check_slope, clipped_slope
from tightfit.optimizers.weights_only import WeightsOnly
from tightfit.schedules import Schedulable, value_at

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
        zeroth_order = split_at(model, optimizer.bp_layers)
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
            moved = self._probe.at(scale, batch.step)
        with self.phases("forward"), moved, nullcontext() if feeds_bp else torch.no_grad():
            loss = self._objective(self._model, batch)
        if feeds_bp:
            with self.phases("backward"):
                loss.backward()
        return loss.item()


def split_at(model: nn.Module, bp_layers: int) -> list[tuple[str, nn.Parameter]]:
    """Let only the last `bp_layers` layers with weights require gradients; returns the other trained parameters.

    Autograd then keeps nothing of the layers before them, which is where the memory is saved.
    Raises ValueError when the model has fewer layers with weights.
    """
    blocks = list(trained_blocks(model).values())
    check_layer_count(bp_layers, len(blocks), type(model).__name__)
    model.requires_grad_(False)
    last = {id(p) for block in blocks[len(blocks) - bp_layers :] for p in block}
    trained = trained_parameters(model)
    for _, parameter in trained:
        parameter.requires_grad_(id(parameter) in last)
    return [(name, parameter) for name, parameter in trained if not parameter.requires_grad]
