"""Bottlenecks of tensor trains behind frozen linear layers (LoRETTA, Yang et al., 2024, arXiv 2402.11417).

y = base(x); then y + up(tanh(down(y))), where down and up are linear layers from the width of y to a few numbers and
back. Each is a tensor train: its matrix is a product of small cores, so that it has hundreds of numbers instead of tens
of thousands. This is what AdaZeta trains (Yang et al., 2024, arXiv 2406.18060), with biases and normalisations.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import torch
from torch import nn

from tightfit.memory.table import LayerRow
from tightfit.models.adapters.adapter import Adapted, check_rank, linear_layers, replace_modules_, trained_beside
from tightfit.models.base import blocks_of_modules, freeze_but_, traits_of
from tightfit.numerics.seeds import generator

# Linear layers that end a sublayer of a transformer, by the names that they have in the transformers library.
ENDS_OF_SUBLAYERS = r"(o_proj|out_proj|c_proj|down_proj|fc2|output\.dense)$"
STARTS = ("base", "gaussian")


class TTLinear(nn.Module):
    """x ↦ x M + bias, with M (in, out) a tensor train of 2 · `modes` cores, (rank, a factor of in or out, rank) each.

    The first half of the cores is contracted to (in, rank), the second to (rank, out): M itself never is.
    activation_bytes: of a number that it makes.
    """

    def __init__(
        self, inputs: int, outputs: int, rank: int, modes: int, seed: int, name: str, activation_bytes: int
    ) -> None:
        super().__init__()
        self._sizes, self._rank, self._modes = (inputs, outputs), rank, modes
        self._activation_bytes = activation_bytes
        random = generator(seed, "adapter", name)
        shapes = core_shapes(inputs, outputs, rank, modes)
        scale = (inputs + outputs) ** (-0.5 / len(shapes))  # of all cores together 1/√(in + out)
        for place, shape in enumerate(shapes):
            core = torch.randn(shape, generator=random).mul_(scale / math.sqrt(shape[-1]))
            self.register_parameter(f"core_{place}", nn.Parameter(core))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def own_rows(self, name: str, block: str, positions: int) -> list[LayerRow]:
        """See `HasRows`."""
        sizes, held = self._sizes, self.bias.element_size()
        row = tt_row(name, *sizes, self._rank, self._modes, positions, self._activation_bytes, held, block)
        return [row]

    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(in, rank) and (rank, out), whose product is M."""
        cores = [getattr(self, f"core_{place}") for place in range(2 * self._modes)]
        first, second = (
            reduce(lambda left, right: torch.tensordot(left, right, 1), half)
            for half in (cores[: self._modes], cores[self._modes :])
        )
        return first.reshape(self._sizes[0], self._rank), second.reshape(self._rank, self._sizes[1])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        first, second = (factor.to(inputs.dtype) for factor in self.factors())
        return (inputs @ first @ second).add_(self.bias.to(inputs.dtype))


class TTAdapted(Adapted):
    """`base`, and a bottleneck behind it."""

    def __init__(self, base: nn.Linear, tt: TensorTrains, seed: int, name: str) -> None:
        super().__init__(name)
        weight, size = base.weight, base.out_features
        shared = (tt.rank, tt.modes, seed)
        self.base = base
        self.down = TTLinear(size, tt.width, *shared, f"{name}.down", weight.element_size()).to(weight.device)
        self.tanh = nn.Tanh()
        self.up = TTLinear(tt.width, size, *shared, f"{name}.up", weight.element_size()).to(weight.device)
        if tt.start == "base":
            nn.init.zeros_(self.up.get_parameter(f"core_{2 * tt.modes - 1}"))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = self.base(inputs)
        return self.up(self.tanh(self.down(outputs))).add_(outputs)


@dataclass(frozen=True)
class TensorTrains:
    """Bottlenecks in float32 behind linear layers, which are frozen.

    rank: of the trains, between cores; width: of the bottleneck; modes: factors that a width is taken to.
    targets: a regular expression for the names of layers; None: those that end a sublayer, in a model of the
    transformers library, and in any other every linear layer, but none that answers.
    norms: whether layer norms are trained too, in their own type.
    start: base, with a last core of zeros, so that the adapted model begins as the base; or gaussian, as published.
    """

    rank: int = 5
    width: int = 64
    modes: int = 3
    targets: str | None = None
    norms: bool = True
    start: Literal["base", "gaussian"] = "base"

    def __post_init__(self) -> None:
        check_rank(self.rank)
        for name in ("width", "modes"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"adapter.{name}={value} but a train has at least one core; choose 1 or more")
        if self.start not in STARTS:
            raise ValueError(f"adapter.start={self.start!r} is no beginning; choose {' or '.join(STARTS)}")

    @property
    def kept_kinds(self) -> tuple[str, ...]:
        """Of the rows of a planned transformer, those that are trained beside the bottlenecks."""
        return ("Norm",) if self.norms else ()

    def rows(self, row: LayerRow) -> list[LayerRow]:
        """What a plan counts behind the linear layer `row`."""
        size, positions, each = row.features[1], row.outputs // row.features[1], row.bytes_per_element
        shared = (self.rank, self.modes, positions, each, 4, row.block)
        bend = LayerRow(f"{row.name}.tanh", "Tanh", 0, positions * self.width, each, block=row.block)
        down = tt_row(f"{row.name}.down", size, self.width, *shared)
        return [down, bend, tt_row(f"{row.name}.up", self.width, size, *shared)]

    def inject(self, model: nn.Module, seed: int) -> list[str]:
        """See `Adapter`."""
        blocks, beside, bases = blocks_of_modules(model), trained_beside(model), self._bases(model)
        added = {name: TTAdapted(base, self, seed, name) for name, base in bases.items()}
        replace_modules_(model, added)
        parts = [f"{name}.{part}." for name in added for part in ("down", "up")]
        parts += [f"{name}." for name, module in model.named_modules() if self.norms and is_norm(module)]
        trained = [n for n, _ in model.named_parameters() if n.startswith(tuple(parts)) or n in beside]
        freeze_but_(model, trained, blocks)
        return trained

    def _bases(self, model: nn.Module) -> dict[str, nn.Linear]:
        if self.targets is not None:
            return linear_layers(model, self.targets)
        every, is_transformer = linear_layers(model, None), bool(traits_of(model).adapted)
        ends = {name: base for name, base in every.items() if is_transformer and re.search(ENDS_OF_SUBLAYERS, name)}
        return ends or every


def tt_row(
    name: str,
    inputs: int,
    outputs: int,
    rank: int,
    modes: int,
    positions: int,
    activation_bytes: int,
    held_bytes: int,
    block: str,
) -> LayerRow:
    """That of a `TTLinear` with its bias, called on so many `positions` of an example."""
    shapes = (*core_shapes(inputs, outputs, rank, modes), (outputs,))
    return LayerRow(
        name,
        TTLinear.__name__,
        parameters=sum(map(math.prod, shapes)),
        outputs=(rank + outputs) * positions,  # of the first half of the cores, and of all
        bytes_per_element=activation_bytes,
        inputs=inputs * positions,
        shapes=shapes,
        operations=2 * positions * rank * (inputs + outputs),
        block=block,
        held_bytes=held_bytes,
    )


def core_shapes(inputs: int, outputs: int, rank: int, modes: int) -> tuple[tuple[int, int, int], ...]:
    """(rank before, factor, rank after) of each core; a train ends in ranks of 1."""
    factors = (*factors_of(inputs, modes), *factors_of(outputs, modes))
    ranks = (1, *[rank] * (len(factors) - 1), 1)
    return tuple(zip(ranks, factors, ranks[1:], strict=False))


def factors_of(number: int, count: int) -> tuple[int, ...]:
    """`count` numbers with this product, as even as its primes allow: each prime, the largest first, goes to the
    smallest of them."""
    factors = [1] * count
    for prime in sorted(primes_of(number), reverse=True):
        factors[factors.index(min(factors))] *= prime
    return tuple(factors)


def primes_of(number: int) -> list[int]:
    """The prime factors of `number`, each as often as it divides."""
    primes, divisor = [], 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            primes.append(divisor)
            number //= divisor
        divisor += 1
    return [*primes, number] if number > 1 else primes


def is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm) or type(module).__name__.endswith("RMSNorm")
