"""The layer table: one row per operation of a model, from one pass without data.

Every operation that makes a new tensor has a row, ReLU and pooling included; views (flatten) have none,
and neither has the input. This is the accounting of ElasticZO, section 5.3.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from tightfit.memory.light_mode import LightMode
from tightfit.memory.parts import trained_parameters
from tightfit.models.base import blocks_of_modules, traits_of


@runtime_checkable
class HasRows(Protocol):
    """A module made of parts that states by itself what its own numbers hold, beside the rows of these parts."""

    def own_rows(self, name: str, block: str, positions: int) -> list[LayerRow]:
        """name, block: of the module; positions: how many vectors of an example go through it."""
        ...


@runtime_checkable
class HasAccumulators(Protocol):
    """A module whose results are staged in wider integers until they are rounded; with the bytes of one."""

    accumulator_bytes: int


ELEMENTWISE = (torch.ops.aten.relu.default, torch.ops.aten.maximum.default)


@dataclass(frozen=True)
class LayerRow:
    """One operation."""

    name: str
    kind: str
    parameters: int  # elements
    outputs: int  # elements per example
    bytes_per_element: int
    inputs: int = 0  # elements per example
    accumulator_bytes: int = 0  # per output, staged beside it until it is rounded
    frozen: int = 0  # of the parameters, those that no method changes
    shapes: tuple[tuple[int, ...], ...] = ()  # of the tensors that methods change
    features: tuple[int, int] = (0, 0)  # of a linear layer, in and out
    operations: int = 0  # per example: two for each product of a weight and an input
    operands: int = 1  # of each product, those that are no weights of this row: errors go back to each
    block: str = ""  # the part of the model that `bp_layers` counts as one; empty: this row alone
    held_bytes: int = 0  # of one parameter, where that is not `bytes_per_element`: weights narrower than what they give
    error_bytes: int = 0  # of one error, where that is not `bytes_per_element`: integers with errors in floating point
    frozen_bytes: int = 0  # of all frozen parameters, where these are narrower than the trained ones

    @property
    def trained_elements(self) -> int:
        """How many of the parameters methods change."""
        return self.parameters - self.frozen

    @property
    def bytes_per_parameter(self) -> int:
        return self.held_bytes or self.bytes_per_element

    @property
    def has_weights(self) -> bool:
        return self.trained_elements > 0


@dataclass(frozen=True)
class LayerTable:
    """All operations of a model, in order."""

    model: str
    rows: tuple[LayerRow, ...]

    @property
    def weight_layers(self) -> int:
        return len(self._starts())

    def last(self, weight_layers: int) -> tuple[LayerRow, ...]:
        """The rows from the first of the last `weight_layers` layers with weights to the end.

        Raises ValueError when the model has fewer layers with weights.
        """
        check_layer_count(weight_layers, self.weight_layers, self.model)
        return self.rows[self._starts()[-weight_layers] :] if weight_layers else ()

    def backpropagated(self) -> tuple[LayerRow, ...]:
        """The rows that errors go back to: none lies before the first that trains weights."""
        starts = self._starts()
        return self.rows[starts[0] :] if starts else ()

    def blocks(self) -> tuple[tuple[LayerRow, ...], ...]:
        """The rows block by block, each from a layer with weights, frozen ones too, to the next; what comes before the
        first is of it."""
        borders = [0, *self._starts(frozen=True)[1:], len(self.rows)]
        return tuple(self.rows[start:end] for start, end in pairwise(borders))

    def _starts(self, frozen: bool = False) -> list[int]:
        """Where each layer with weights begins. frozen: also those of which methods change nothing."""
        starts: dict[str, int] = {}
        for index, row in enumerate(self.rows):
            if row.has_weights or (frozen and row.parameters):
                starts.setdefault(row.block or row.name, index)
        return list(starts.values())


def check_layer_count(bp_layers: int, available: int, model: str) -> None:
    """Raise ValueError unless `bp_layers` layers with weights can be split off a model that has `available`."""
    if not 0 <= bp_layers <= available:
        raise ValueError(f"bp_layers={bp_layers} but {model} has {available} layers with weights; choose 0–{available}")


def parameter_bytes(rows: tuple[LayerRow, ...]) -> int:
    return trained_bytes(rows) + frozen_bytes(rows)


def frozen_bytes(rows: tuple[LayerRow, ...]) -> int:
    """Bytes of the parameters that no method changes."""
    return sum(row.frozen_bytes or row.frozen * row.bytes_per_parameter for row in rows)


def trained_bytes(rows: tuple[LayerRow, ...]) -> int:
    """Bytes of the parameters that are not frozen."""
    return sum(row.trained_elements * row.bytes_per_parameter for row in rows)


def largest_trained_bytes(rows: tuple[LayerRow, ...]) -> int:
    """Bytes of the parameters that are not frozen in the layer that has most of them."""
    return max((trained_bytes((row,)) for row in rows), default=0)


def output_bytes(rows: tuple[LayerRow, ...], batch_size: int) -> int:
    return sum(row.outputs * row.bytes_per_element for row in rows) * batch_size


def error_bytes(rows: tuple[LayerRow, ...], batch_size: int) -> int:
    """Bytes of an error for each output."""
    return sum(row.outputs * (row.error_bytes or row.bytes_per_element) for row in rows) * batch_size


def input_bytes(row: LayerRow, batch_size: int) -> int:
    """Bytes of what goes into `row`, which is of the type that comes out."""
    return row.inputs * row.bytes_per_element * batch_size


def layer_table(model: nn.Module, example_shape: tuple[int, ...]) -> LayerTable:
    """The table of `model` for examples of `example_shape`, by a pass on the meta device: nothing is computed.

    Raises whatever a forward pass raises, ValueError where a linear layer gets rows of another length.
    """
    probe = copy.deepcopy(model).to("meta").eval()
    rows: list[LayerRow] = []
    block_of = blocks_of_modules(probe)
    trained = {id(parameter) for _, parameter in trained_parameters(probe)}

    def record(name: str, module: nn.Module, inputs: tuple[Any, ...], returned: Any) -> None:
        given, output = first_tensor(inputs), first_tensor(returned)
        if output.untyped_storage()._cdata == given.untyped_storage()._cdata:
            return  # a view holds no bytes of its own
        if isinstance(module, nn.Linear) and given.shape[-1] != module.in_features:  # which this device lets pass
            raise ValueError(f"layer {name} takes {module.in_features} numbers but gets {given.shape[-1]}")
        shapes = tuple(tuple(parameter.shape) for parameter in module.parameters() if id(parameter) in trained)
        parameters = sum(parameter.numel() for parameter in module.parameters())
        rows.append(
            LayerRow(
                name=name,
                kind=type(module).__name__,
                parameters=parameters,
                outputs=output[0].numel(),
                bytes_per_element=output.element_size(),
                inputs=given[0].numel(),
                accumulator_bytes=module.accumulator_bytes if isinstance(module, HasAccumulators) else 0,
                frozen=parameters - sum(map(math.prod, shapes)),
                shapes=shapes,
                operations=operations(module, output),
                features=(module.in_features, module.out_features) if isinstance(module, nn.Linear) else (0, 0),
                block=block_of[name],
                held_bytes=held_bytes(module),
            )
        )

    def record_own(name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(module, HasRows)
        given = first_tensor(inputs)
        rows.extend(module.own_rows(name, block_of[name], given[0].numel() // given.shape[-1]))

    for name, module in probe.named_modules():
        if isinstance(module, HasRows):
            module.register_forward_hook(lambda m, i, o, name=name: record_own(name, m, i))
        elif not list(module.children()):
            module.register_forward_hook(lambda m, i, o, name=name: record(name, m, i, o))
    with torch.no_grad(), ShapesOfResults():
        probe(torch.empty((2, *example_shape), dtype=traits_of(model).input_dtype, device="meta"))
    return LayerTable(model=type(model).__name__, rows=tuple(rows))


class ShapesOfResults(LightMode):
    """Makes what the operators of small models return on the meta device: for these, PyTorch imports its compiler."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.addmm.default:
            return args[1].new_empty((args[1].shape[0], args[2].shape[1]))
        if func in ELEMENTWISE and len({operand.shape for operand in args}) == 1:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


def operations(module: nn.Module, output: torch.Tensor) -> int:
    """Two for each product of a weight and an input that goes into one example of `output`."""
    weight = weight_of(module)
    if weight is None or weight.dim() < 2 or isinstance(module, nn.Embedding):
        return 0
    channels = output.shape[-1 if weight.dim() == 2 else 1]  # of a linear layer, or of a convolution
    return 2 * weight.numel() * output[0].numel() // channels


def held_bytes(module: nn.Module) -> int:
    """Of one weight in floating point; 0 where a module has none."""
    weight = weight_of(module)
    return weight.element_size() if weight is not None and weight.is_floating_point() else 0


def weight_of(module: nn.Module) -> nn.Parameter | None:
    """The parameter that a layer calls its weight, by PyTorch's custom; None where it has none of its own."""
    return dict(module.named_parameters(recurse=False)).get("weight")


def first_tensor(value: Any) -> torch.Tensor:
    """`value`, or the first tensor in nested tuples: the values of a number that also has an exponent."""
    return first_tensor(value[0]) if isinstance(value, tuple) else value
