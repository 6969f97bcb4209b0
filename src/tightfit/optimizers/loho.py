"""LoHO: ElasticZO whose last layers are backpropagated in part (Tan et al., 2024, arXiv 2409.18075).

Of each linear layer and each convolution among the last `bp_layers`, a share of the weights moves by gradients and the
rest along the direction of the layers before, so that the memory of gradients can be chosen finely. All else in those
layers is backpropagated.

No code is public, and what is known of the paper does not say which weights of a layer have gradients. Here they are
those of its first outputs, the first rows of its matrix: their gradients are made without those of the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.cost import Cost
from tightfit.memory.table import LayerRow, LayerTable, trained_bytes
from tightfit.optimizers.base import Batch, Learner, Objective
from tightfit.optimizers.descents.plain import check_plain
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.elastic_zo import ElasticZO, ElasticZOLearner, Named, split_at
from tightfit.optimizers.schedules import check_each

KINDS = (nn.Linear, nn.Conv2d)  # of layers that are divided
Forward = Callable[[torch.Tensor], torch.Tensor]
Part = Mapping[str, nn.Parameter]  # the weight of some outputs of a layer, and their bias if it has one


@dataclass(frozen=True)
class LoHO(ElasticZO):
    """As ElasticZO, along independent numbers and with restore=merged. share: of the outputs of a layer, those whose
    weights have gradients, at least one; 1 is ElasticZO, 0 is MeZO."""

    share: float = field(default=0.5, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_plain(self.descent, "loho")
        check_each("optimizer.share", self.share, lambda value: 0 <= value <= 1, "from 0 to 1")
        if self.restore != "merged" or not isinstance(self.direction, Independent):
            raise ValueError(
                f"restore={self.restore}, direction={self.direction.noise} but loho moves parts of tensors in place, "
                "along independent numbers; choose restore=merged and direction=gaussian"
            )

    @property
    def passes_with_gradients(self) -> int:
        return super().passes_with_gradients if self.share else 0

    def outputs_of(self, outputs: int) -> int:
        """How many outputs of a layer that has so many are backpropagated."""
        return min(outputs, max(1, round(self.share * outputs)))

    def part_of(self, row: LayerRow) -> LayerRow:
        """`row`, of the last layers, with the numbers alone that have gradients, and those that are frozen."""
        if row.kind not in {kind.__name__ for kind in KINDS}:
            return row
        shapes = tuple((self.outputs_of(shape[0]), *shape[1:]) for shape in row.shapes)
        return replace(row, parameters=row.frozen + sum(map(math.prod, shapes)), shapes=shapes)

    def memory(self, table: LayerTable, batch_size: int) -> Breakdown:
        """As ElasticZO's, with gradients and the rule's state for a part of the last layers."""
        tail = table.last(self.bp_layers) if self.share else ()
        parts = tuple(map(self.part_of, tail))
        whole = super().memory(table, batch_size)
        return replace(
            whole,
            errors=whole.errors if self.share else 0,
            gradients=trained_bytes(parts),
            optimizer_state=sum(self.rule.state_bytes(part) for part in parts),
        )

    def cost(self, table: LayerTable, batch_size: int) -> Cost:
        """As ElasticZO's, without the products for gradients that are not made."""
        plain, tail = super().cost(table, batch_size), table.last(self.bp_layers)
        spared = sum(
            row.operations * (1 - self.part_of(row).trained_elements / row.trained_elements)
            for row in tail
            if row.has_weights
        )
        every = sum(row.operations for row in table.rows)
        return replace(plain, backward=plain.backward - self.passes_with_gradients * spared / max(1, every))

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        return LoHOLearner(self, model, objective, seed)


class LoHOLearner(ElasticZOLearner):
    def __init__(self, optimizer: LoHO, model: nn.Module, objective: Objective, seed: int) -> None:
        self._divided = divided_layers(model, optimizer)
        super().__init__(optimizer, model, objective, seed)
        of_divided = {id(own) for module, *_ in self._divided.values() for own in module.parameters(recurse=False)}
        self.undifferentiated = [p for p in self.undifferentiated if id(p) not in of_divided]

    def _split(self, optimizer: ElasticZO, model: nn.Module) -> tuple[Named, Named]:
        if not optimizer.passes_with_gradients:
            return split_at(model, 0)
        first, last = split_at(model, optimizer.bp_layers)
        divided = {f"{name}.{own}" for name, (_, with_gradients, _) in self._divided.items() for own in with_gradients}
        last = [(name, parameter) for name, parameter in last if name not in divided]
        for name, (_, with_gradients, along) in self._divided.items():
            last += [(f"{name}.{own}", part) for own, part in with_gradients.items()]
            # The rest of a tensor begins elsewhere in memory: with its name, its directions are others too.
            first += [(f"{name}.{own}[{len(with_gradients[own])}:]", part) for own, part in along.items()]
        return first, last

    def _loss(self, batch: Batch, scale: float, query: int) -> float | torch.Tensor:
        with in_parts(self._divided):
            return super()._loss(batch, scale, query)

    @property
    def obstacle_to_stacking(self) -> str:
        return "the host divides layers into parts"


# A layer, the part of it that is backpropagated, and the part that moves along directions, in the layer's own memory.
Divided = dict[str, tuple[nn.Linear | nn.Conv2d, Part, Part]]


def divided_layers(model: nn.Module, optimizer: LoHO) -> Divided:
    """Those of the last layers that are backpropagated in part, by their names.

    Raises ValueError when the model has fewer layers with weights.
    """
    trained = {id(parameter) for _, parameter in split_at(model, optimizer.bp_layers)[1]}
    divided: Divided = {}
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if not is_divisible(module) or not {id(parameter) for parameter in own.values()} <= trained:
            continue
        outputs = len(module.weight)
        some = optimizer.outputs_of(outputs)
        if optimizer.share and some < outputs:
            with_gradients = {name: nn.Parameter(parameter.data[:some]) for name, parameter in own.items()}
            along = {name: nn.Parameter(parameter.data[some:], False) for name, parameter in own.items()}
            divided[name] = module, with_gradients, along
    return divided


def is_divisible(module: nn.Module) -> bool:
    """Whether each output of `module` has weights of its own, which are multiplied with all inputs. A table of layers
    does not tell grouped convolutions apart, and counts a part of them too."""
    return type(module) in KINDS and getattr(module, "groups", 1) == 1


@contextmanager
def in_parts(divided: Divided) -> Generator[None]:
    """Inside, layers compute their outputs part by part, so that autograd keeps a gradient of one alone."""
    replaced: dict[nn.Module, Forward] = {
        module: partial(forward_in_parts, module, parts) for module, *parts in divided.values()
    }
    for module, forward in replaced.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in replaced:
            del module.forward


def forward_in_parts(module: nn.Linear | nn.Conv2d, parts: list[Part], inputs: torch.Tensor) -> torch.Tensor:
    product: Callable[..., torch.Tensor] = F.linear if isinstance(module, nn.Linear) else module._conv_forward
    outputs = [product(inputs, part["weight"], part.get("bias")) for part in parts]
    return torch.cat(outputs, dim=-1 if isinstance(module, nn.Linear) else -3)
