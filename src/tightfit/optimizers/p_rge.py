"""P-RGE: several random directions, and both signs of each, evaluated as one batch (MobiZO, Gao et al., 2025).

Each example of a batch is repeated for every perturbed copy of the adapters (see `mp_lora`), so that q directions cost
one forward pass over a larger batch: the frozen weights are read once instead of 2 q times. All modes of `parallel`
take the same directions, those of `mezo` on the same adapters, and differ by rounding alone. The base is frozen, its
statistics of normalisation too, and in evaluation mode: copies that share a pass would draw different masks of dropout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import torch
from torch import nn

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.cost import Cost
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import LayerRow, LayerTable, output_bytes, parameter_bytes, trained_bytes
from tightfit.models.adapters.mp_lora import MPLoRALinear, adapters_of
from tightfit.models.base import traits_of
from tightfit.numerics.noise.perturbation import Perturbation
from tightfit.optimizers.base import Batch, Facts, Learner, Objective, Report
from tightfit.optimizers.directions.independent import GAUSSIAN, Independent
from tightfit.optimizers.phases import Phases
from tightfit.optimizers.schedules import value_at
from tightfit.optimizers.weights_only import WeightsOnly
from tightfit.optimizers.zeroth_order import TwoSided, clipped_slope

Parallel = Literal["none", "outer", "inner", "both"]
PARALLEL = ("none", "outer", "inner", "both")
Side = tuple[int, int]  # of a direction: which one, and +1 or -1
NO_ADAPTERS = "optimizer=p_rge trains copies of MP-LoRA adapters, and this model has none; choose adapter=mp_lora"


@dataclass(frozen=True)
class PRGE(TwoSided):
    """As TwoSided. parallel: what one forward pass holds: the directions (outer), the two signs (inner), both or
    neither. Trains a model that has MP-LoRA adapters."""

    queries: int = 4
    direction: Independent = GAUSSIAN  # copies of adapters are no weights of a model, which other directions move
    parallel: Parallel = "both"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parallel not in PARALLEL:
            raise ValueError(f"parallel={self.parallel!r} is no way to batch; choose {', '.join(PARALLEL)}")
        if not isinstance(self.direction, Independent):
            raise ValueError("p_rge moves copies along independent numbers alone; choose direction=gaussian")

    def passes(self) -> list[list[Side]]:
        """The sides of each forward pass, in order: a minus follows its plus, or all follow all."""
        queries = range(self.queries)
        match self.parallel:
            case "both":
                return [[(query, sign) for sign in (1, -1) for query in queries]]
            case "outer":
                return [[(query, sign) for query in queries] for sign in (1, -1)]
            case "inner":
                return [[(query, 1), (query, -1)] for query in queries]
            case _:
                return [[(query, sign)] for query in queries for sign in (1, -1)]

    @property
    def copies(self) -> int:
        """How many perturbed copies of the adapters exist at once, K."""
        return len(self.passes()[0])

    @property
    def directions(self) -> int:
        """How many directions a pass holds, with one sign or with both."""
        return len({query for query, _ in self.passes()[0]})

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """Inference for a batch of K × `batch_size`, and beside each B its K perturbed copies. Source: MobiZO, with B
        itself kept too. Raises ValueError for a model without adapters."""
        copies = self.copies * trained_bytes(adapter_rows(table))
        return Breakdown(
            parameters=parameter_bytes(table.rows) + copies,
            activations=output_bytes(table.rows, batch_size) * self.copies,
        )

    def cost(self, table: LayerTable, batch_size: int) -> Cost:
        """Each side of a direction is a forward pass over the batch, however many of them one pass holds; what moves
        adapters alone is next to nothing."""
        return Cost(forward=2 * self.queries, together=self.copies)

    def facts(self) -> Facts:
        return replace(super().facts(), forward_passes=len(self.passes()))

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        return PRGELearner(self, model, objective, seed)


def adapter_rows(table: LayerTable) -> tuple[LayerRow, ...]:
    """The rows that are trained: each B. Raises ValueError when there are none."""
    rows = tuple(row for row in table.rows if row.kind == MPLoRALinear.__name__ and row.has_weights)
    if not rows:
        raise ValueError(NO_ADAPTERS)
    return rows


def check_nothing_is_new(model: nn.Module) -> None:
    """Raise ValueError where `model` has new weights: they have no copies, and would stay as they were drawn."""
    new = sorted(traits_of(model).new & {name for name, _ in trained_parameters(model)})
    if new:
        raise ValueError(
            f"optimizer=p_rge moves adapters alone, and {new[0]} of this model is new, so that it would stay as drawn; "
            "choose optimizer=mezo with adapter=lora, which trains it too"
        )


class PRGELearner(WeightsOnly):
    def __init__(self, optimizer: PRGE, model: nn.Module, objective: Objective, seed: int) -> None:
        self.phases = Phases()
        self._optimizer = optimizer
        self._adapters = adapters_of(model)
        if not self._adapters:
            raise ValueError(NO_ADAPTERS)
        check_nothing_is_new(model)
        self._model = model.requires_grad_(False).eval()
        self._objective = objective
        self._perturbation = self._along({name: adapter.B for name, adapter in self._adapters.items()}, seed)
        self._stacks = {
            name: adapter.B.new_empty(optimizer.copies, *adapter.B.shape) for name, adapter in self._adapters.items()
        }
        self._perturbations = [
            self._along({name: stack[copy] for name, stack in self._stacks.items()}, seed)
            for copy in range(optimizer.directions)
        ]

    def _along(self, tensors: dict[str, torch.Tensor], seed: int) -> Perturbation:
        """Moves B, or copies of it, of each layer: the same name, the same directions."""
        named = [(f"{name}.B", nn.Parameter(tensor, requires_grad=False)) for name, tensor in tensors.items()]
        return self._optimizer.direction.perturbation(named, seed, self._optimizer.queries)

    @torch.no_grad()
    def step(self, batch: Batch) -> Report:
        optimizer, queries = self._optimizer, self._optimizer.queries
        lr, eps, clip = (value_at(h, batch.epoch) for h in (optimizer.lr, optimizer.eps, optimizer.clip))
        losses: dict[Side, float] = {}
        for sides in optimizer.passes():
            with self.phases("perturb"):
                self._perturb(sides, eps, batch.step)
            with self.phases("forward"):
                losses |= zip(sides, self._losses(batch, len(sides)), strict=True)
        slopes = [clipped_slope(losses[query, 1], losses[query, -1], eps, clip) for query in range(queries)]
        with self.phases("update"):
            for query, slope in enumerate(slopes):
                self._perturbation.add_(-lr * slope / queries, batch.step, query)
        loss = sum(losses.values()) / len(losses)
        return Report(loss, len(optimizer.passes()), backward_passes=0, scalars={"slope": slopes[-1]})

    def _perturb(self, sides: list[Side], eps: float, step: int) -> None:
        """Copy k of each adapter becomes B ± eps z of the k-th side."""
        directions = self._optimizer.directions
        drawn = [query for query, sign in sides if sign == 1]
        if drawn:
            for name, adapter in self._adapters.items():
                self._stacks[name][:directions].copy_(adapter.B)
            for query, perturbation in zip(drawn, self._perturbations, strict=True):
                perturbation.add_(eps, step, query)
        for name, adapter in self._adapters.items():
            adapter.copies = stack = self._stacks[name]
            if len(drawn) < len(sides):  # mirrored about B, from this pass or the one before, and not drawn again
                torch.sub(2 * adapter.B, stack[:directions], out=stack[-directions:])

    def _losses(self, batch: Batch, copies: int) -> list[float]:
        """The mean loss of the batch under each copy, by one forward pass."""

        @cache  # not before it is asked for: a log of losses that replays them needs no pass
        def logits() -> tuple[torch.Tensor, ...]:
            repeated = batch.inputs.repeat(copies, *[1] * (batch.inputs.dim() - 1))
            return self._model(repeated).chunk(copies)

        losses = [self._objective(lambda _, k=k: logits()[k], batch).item() for k in range(copies)]
        for adapter in self._adapters.values():
            adapter.copies = None
        return losses
