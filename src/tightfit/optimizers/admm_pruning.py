"""Pruning on synthetic inputs alone (privacy-preserving pruning, Zhan et al., 2020, arXiv 2003.06513).

Who prunes has the trained network and no data. Each layer is to give what it gave at first, on pixels that are drawn,
with fewer weights: least ‖X (W − W₀)‖² with W in a set of sparse ones. The alternating direction method of multipliers
(ADMM) moves W by gradients towards Z − U, where Z is the nearest sparse point to W + U and U sums up what W and Z
differ by; the weight ρ of that difference grows. All layers are pruned at once, each behind those before it as they are
by then. Whose data it is retrains the sparse network afterwards: optimizer=bp optimizer/rule=masked_sgd or masked_adam.

No code is public, and of the paper the opening was read: patterns, ρ and the step are choices made here. ρ is counted
in the mean eigenvalue of a layer's Gram matrix XᵀX, without which one ρ is too small in one layer and too large in the
next. A gradient step goes, for each output by itself, to where the loss is least on it.
"""

from __future__ import annotations

import copy
import math
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.cost import Cost
from tightfit.memory.measured import STEPS_TO_PEAK
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerRow, LayerTable, output_bytes, parameter_bytes
from tightfit.models.base import traits_of
from tightfit.numerics.seeds import generator
from tightfit.numerics.sparsity import kept_of
from tightfit.optimizers.base import Batch, Facts, Learner, Objective, Report
from tightfit.optimizers.phases import Phases
from tightfit.optimizers.schedules import check_each, check_positive, check_rate
from tightfit.optimizers.suitability import check_floats

Layer = nn.Linear | nn.Conv2d
Layers = dict[str, Layer]
KINDS = (nn.Linear, nn.Conv2d)  # of layers that are pruned


@dataclass(frozen=True)
class ADMMPruning:
    """share: of the weights of each layer, those that stay. entries: of each kernel of a convolution, so many stay
    instead; None: convolutions are as other layers. rho: ρ at first, in mean eigenvalues of a layer's Gram matrix; at 0
    the largest weights stay as they are, which is pruning by magnitude. growth: of ρ from one to the next of `stages`
    equal parts of the `epochs` of the run. period: steps between two updates of Z and U. least, most: what synthetic
    pixels, as the model takes them, are drawn between.
    """

    share: float
    epochs: float
    least: float
    most: float
    entries: int | None = None
    rho: float = 0.1
    growth: float = 10.0
    stages: int = 4
    period: int = 50

    def __post_init__(self) -> None:
        check_each("optimizer.share", self.share, lambda value: 0 < value <= 1, "above 0 and up to 1")
        for name in ("rho", "growth"):
            check_rate(f"optimizer.{name}", getattr(self, name))
        check_positive("optimizer.epochs", self.epochs)
        for name in ("entries", "period", "stages"):
            if getattr(self, name) is not None:
                check_each(f"optimizer.{name}", getattr(self, name), lambda value: value >= 1, "a number from 1")
        if not self.least < self.most:
            raise ValueError(f"optimizer.least={self.least} is not below most={self.most}; choose a range of pixels")

    def rho_at(self, epoch: float) -> float:
        stage = int(epoch / self.epochs * self.stages)
        return self.rho * self.growth ** min(stage, self.stages - 1)

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """Inference; of each pruned layer W₀, Z and U; and for one layer at a time what its outputs differ by, and
        three of its size: a gradient with W − W₀, or sizes with a list of places. Weights that are pruned count as all
        others: they lie there as zeros."""
        pruned = [row for row in table.rows if row.kind in {kind.__name__ for kind in KINDS} and row.has_weights]
        return Breakdown(
            parameters=parameter_bytes(table.rows),
            activations=output_bytes(table.rows, batch_size),
            gradients=3 * max(map(weight_bytes, pruned), default=0),
            errors=max((output_bytes((row,), batch_size) for row in pruned), default=0),
            optimizer_state=3 * sum(map(weight_bytes, pruned)),
        )

    def cost(self, table: LayerTable, batch_size: int) -> Cost:
        """A pass of the network, and by each layer three more products of its size."""
        return Cost(forward=4)

    def facts(self) -> Facts:
        return Facts(forward_passes=1, backward_passes=0, rule="admm" if self.rho else "magnitude")

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        """Raises ValueError for a model that takes no pixels, or has no layer to prune."""
        check_floats(model, "admm_pruning")
        kind = type(model).__name__
        if not traits_of(model).input_dtype.is_floating_point:
            raise ValueError(f"optimizer=admm_pruning draws pixels, and {kind} reads none; choose a model of images")
        trained = {id(parameter) for _, parameter in trained_parameters(model)}
        layers = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, KINDS) and id(module.weight) in trained
        }
        if not layers:
            raise ValueError(
                f"optimizer=admm_pruning prunes linear layers and convolutions, and {kind} has none that are trained; "
                "choose another model, or adapter=none"
            )
        return ADMMPruningLearner(self, model, layers, seed)


def weight_bytes(row: LayerRow) -> int:
    """Of the weights of a layer alone, without its bias."""
    return row.bytes_per_parameter * max(
        (torch.Size(shape).numel() for shape in row.shapes if len(shape) > 1), default=0
    )


class Pruned:
    """What ADMM holds of one layer: `start` is W₀, `sparse` Z, `dual` U; `scale` the mean eigenvalue of the Gram matrix
    of what went in first."""

    def __init__(self, weights: torch.Tensor, kept: torch.Tensor) -> None:
        self.start, self.sparse, self.dual = weights.clone(), weights * kept, torch.zeros_like(weights)
        self.scale: float | None = None


class ADMMPruningLearner:
    def __init__(self, optimizer: ADMMPruning, model: nn.Module, layers: Layers, seed: int) -> None:
        self.phases = Phases()
        self._optimizer, self._model, self._layers, self._seed = optimizer, model, layers, seed
        self._held = {name: Pruned(weights, self._kept(weights)) for name, weights in self._weights()}
        self._dual_rho = 0.0  # in whose units U is
        self._scalars = self._sizes()

    def _weights(self) -> list[tuple[str, torch.Tensor]]:
        return [(name, layer.weight.detach()) for name, layer in self._layers.items()]

    def _kept(self, weights: torch.Tensor) -> torch.Tensor:
        return kept_of(weights, self._optimizer.share, self._optimizer.entries)

    @torch.no_grad()
    def step(self, batch: Batch) -> Report:
        """Of `batch` nothing is read but the shape of its inputs: pixels are drawn. The second step updates Z and U
        whatever the period, so that two steps hold all that any will."""
        rho = self._optimizer.rho_at(batch.epoch)
        is_due = batch.step > 0 and batch.step % self._optimizer.period == 0
        if rho and (is_due or batch.step == STEPS_TO_PEAK - 1):
            with self.phases("update"):
                self._update_sparse(rho)
        losses: list[torch.Tensor] = []
        was_training = self._model.training
        with ExitStack() as hooks, self.phases("forward"):
            for name, layer in self._layers.items():
                move = partial(self._move, self._held[name], rho, losses)
                hooks.callback(layer.register_forward_pre_hook(move).remove)
            self._model.eval()(self._synthetic(batch))  # statistics of drawn pixels are of no use
        self._model.train(was_training)
        return Report(torch.stack(losses).mean().item(), 1, 0, dict(self._scalars))

    def _synthetic(self, batch: Batch) -> torch.Tensor:
        """Uniform pixels in the shape of the inputs, the same on any device."""
        drawn = torch.rand(batch.inputs.shape, generator=generator(self._seed, "synthetic inputs", batch.step))
        drawn.mul_(self._optimizer.most - self._optimizer.least).add_(self._optimizer.least)
        return drawn.to(batch.inputs.device, batch.inputs.dtype)

    def _move(self, held: Pruned, rho: float, losses: list[torch.Tensor], layer: Any, given: Any) -> None:
        """Move the weights of `layer`, for each output to where the loss is least along its gradient.

        The loss is ‖X (W − W₀)‖² / 2m + ρ ‖W − Z + U‖² / 2, X the m vectors that go in.
        """
        (inputs,), weights = given, layer.weight.detach()
        if held.scale is None:
            held.scale = float(torch.linalg.vector_norm(inputs)) ** 2 / inputs.numel()
        penalty = rho * held.scale
        gradient, loss, count = of_reconstruction(layer, inputs, weights - held.start)
        losses.append(loss)
        gradient.add_((weights - held.sparse).add_(held.dual), alpha=penalty)
        rows = gradient.flatten(1)  # of an output each
        squares = torch.linalg.vector_norm(rows, dim=1).square_()
        curvature = squares_of_outputs(layer, product(layer, inputs, gradient)) / count + penalty * squares
        length = squares / curvature.clamp(min=torch.finfo(curvature.dtype).tiny)
        weights.flatten(1).addcmul_(rows, length[:, None], value=-1)

    def _update_sparse(self, rho: float) -> None:
        """Z to the nearest sparse point to W + U, and U to what is left of that."""
        for name, weights in self._weights():
            held = self._held[name]
            held.dual.mul_(self._dual_rho / rho).add_(weights)  # U is scaled: ρ U is what stays when ρ grows
            held.sparse.copy_(held.dual).mul_(self._kept(held.dual))
            held.dual.sub_(held.sparse)
        self._dual_rho = rho
        self._scalars = self._sizes()

    def _sizes(self) -> dict[str, float]:
        """The share of weights that Z keeps, and the primal residual ‖W − Z‖ / ‖W‖ over all layers."""
        kept = sum(int(held.sparse.count_nonzero()) for held in self._held.values())
        weights = dict(self._weights())
        apart = [float((weights[name] - held.sparse).norm()) for name, held in self._held.items()]
        whole = [float(each.norm()) for each in weights.values()]
        count = sum(each.numel() for each in weights.values())
        return {"kept": kept / count, "primal_residual": math.hypot(*apart) / max(math.hypot(*whole), 1e-30)}

    @torch.no_grad()
    def resting_model(self) -> nn.Module:
        """A copy whose weights outside Z's places are 0: what would be handed over now."""
        pruned = copy.deepcopy(self._model)
        modules = dict(pruned.named_modules())
        for name, held in self._held.items():
            modules[name].weight.mul_(held.sparse != 0)
        return pruned

    def state_dict(self) -> dict[str, Any]:
        pruned = {name: vars(held) for name, held in self._held.items()}
        return {"model": self._model.state_dict(), "pruned": pruned, "rho": self._dual_rho, "scalars": self._scalars}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
        for name, held in self._held.items():
            saved = state["pruned"][name]
            for part in ("start", "sparse", "dual"):
                getattr(held, part).copy_(saved[part])
            held.scale = saved["scale"]
        self._dual_rho, self._scalars = state["rho"], dict(state["scalars"])


def product(layer: Layer, inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """What `layer` would give of `inputs` by `weights` and no bias."""
    return F.linear(inputs, weights) if isinstance(layer, nn.Linear) else layer._conv_forward(inputs, weights, None)


def squares_of_outputs(layer: Layer, outputs: torch.Tensor) -> torch.Tensor:
    """The sum of squares of each output of `layer`, (out,)."""
    by_output = outputs.transpose(0, -1 if isinstance(layer, nn.Linear) else -3).flatten(1)
    return torch.linalg.vector_norm(by_output, dim=1).square_()


def of_reconstruction(
    layer: Layer, inputs: torch.Tensor, moved: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """The gradient of ‖X (W − W₀)‖² / 2m by W, what the outputs differ by in mean square, and m. moved: W − W₀."""
    with torch.enable_grad():
        differs = product(layer, inputs, moved.requires_grad_())
    outputs = differs.detach()
    (gradient,) = torch.autograd.grad(differs, moved, outputs)
    count = outputs.numel() // len(moved)
    return gradient.div_(count), outputs.square().mean(), count
