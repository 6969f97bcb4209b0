"""What rules share that step each tensor by itself and keep little of it: FOAM, MoFaSGD, SOLO, SGC, 8-bit Adam.

Tensors that such a rule does not serve, small ones and those of layers that `by_adam` finds, are stepped by Adam.
Within a large tensor, parts that do not know of each other are stepped in turn, so that what a step works with is the
size of a piece and not of the tensor.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from tightfit.memory.table import LayerRow
from tightfit.numerics import seeds
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.rule import Named, Stepper

PIECE = 2**14  # elements: few enough that what a small network is stepped with is small too
FLOAT32_BYTES = 4
# Input and output embeddings of language models, by the names that their layers have in transformers and in a plan.
EMBEDDINGS = r"embed|wte|wpe|lm_head|answers|predictions\.decoder"

State = dict[str, torch.Tensor]  # what is kept of one tensor between steps


@dataclass(frozen=True)
class Moment:
    """Where in training a tensor is stepped. step: its own, counted from 1; draws: a generator at the start of this
    tensor's stream at this step; stream: one of the whole run, by names."""

    lr: float
    step: int
    draws: Callable[[], torch.Generator]
    stream: Callable[..., torch.Generator]


@dataclass(frozen=True)
class PerTensor(ABC):
    """by_adam: a regular expression; Adam steps the tensors of layers in whose names it finds something."""

    by_adam: str = field(default=EMBEDDINGS, kw_only=True)

    def __post_init__(self) -> None:
        check_expression("rule.by_adam", self.by_adam)

    @property
    @abstractmethod
    def kind(self) -> str: ...

    @property
    @abstractmethod
    def adam(self) -> Adam:
        """What steps the other tensors."""

    adam_rate = 1.0  # of the other tensors, in units of the rate

    @abstractmethod
    def serves(self, shape: tuple[int, ...]) -> bool:
        """Whether tensors of `shape` are stepped by the rule itself."""

    @abstractmethod
    def bytes_of(self, shape: tuple[int, ...], element: int) -> int:
        """What is kept of a tensor of `shape`, whose elements have `element` bytes, that the rule serves."""

    @abstractmethod
    def started(self, weight: torch.Tensor, gradient: torch.Tensor) -> State:
        """What is kept of a tensor before its first step."""

    @abstractmethod
    def step_tensor_(self, weight: torch.Tensor, gradient: torch.Tensor, state: State, moment: Moment) -> None:
        """Move `weight` and what is kept of it; `gradient` may be written over."""

    def is_own(self, layer: str, shape: tuple[int, ...]) -> bool:
        return self.serves(shape) and not found_in(layer, self.by_adam)

    def state_bytes(self, row: LayerRow) -> int:
        """See `Rule`."""
        element = row.bytes_per_parameter
        own = [shape for shape in row.shapes if self.is_own(row.name, shape)]
        counts = [torch.Size(shape).numel() for shape in own]
        of_others = 2 * element * (row.trained_elements - sum(counts))
        return of_others + sum(self.bytes_of(shape, element) for shape in own)

    def begin(self, parameters: Named, seed: int) -> Stepper:
        return PerTensorStepper(self, parameters, seed)


@dataclass(frozen=True, kw_only=True)
class WithMoments(PerTensor):
    """beta1, beta2, eps: of its own moments, and of Adam for the other tensors."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        self.adam  # noqa: B018 (checks them)

    @property
    def adam(self) -> Adam:
        return Adam(self.beta1, self.beta2, self.eps)


class PerTensorStepper:
    """See `Stepper`."""

    def __init__(self, rule: PerTensor, parameters: Named, seed: int) -> None:
        self._rule = rule
        self._seed = seed
        self._own = {name: p for name, p in parameters if rule.is_own(name.rpartition(".")[0], tuple(p.shape))}
        others = [(name, parameter) for name, parameter in parameters if name not in self._own]
        self._others = rule.adam.begin(others, seed) if others else None
        self._states: dict[str, State] = {}
        self._steps: dict[str, int] = {}

    @torch.no_grad()
    def step_(self, lr: float) -> None:
        for name, parameter in self._own.items():
            if parameter.grad is not None:
                self._step_tensor_(name, parameter, lr)
                parameter.grad = None
        if self._others:
            self._others.step_(lr * self._rule.adam_rate)

    def _step_tensor_(self, name: str, parameter: nn.Parameter, lr: float) -> None:
        gradient = parameter.grad
        assert gradient is not None
        if name not in self._states:
            self._states[name] = self._rule.started(parameter, gradient)
        step = self._steps[name] = self._steps.get(name, 0) + 1
        stream = partial(seeds.generator, self._seed, "rule", device=parameter.device)
        self._rule.step_tensor_(
            parameter, gradient, self._states[name], Moment(lr, step, partial(stream, name, step), stream)
        )

    def state_dict(self) -> dict[str, Any]:
        others = self._others.state_dict() if self._others else None
        return {"states": self._states, "steps": dict(self._steps), "others": others}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._states = {
            name: {part: kept.to(self._own[name].device, copy=True) for part, kept in parts.items()}
            for name, parts in state["states"].items()
        }
        self._steps = dict(state["steps"])
        if self._others:
            self._others.load_state_dict(state["others"])


def check_expression(name: str, expression: str) -> None:
    """Raise ValueError unless the setting `name` is a regular expression."""
    try:
        re.compile(expression)
    except re.error as error:
        raise ValueError(
            f"{name}={expression!r} is no regular expression ({error}); write one, such as embed|lm_head"
        ) from None


def found_in(layer: str, expression: str) -> bool:
    """Whether `expression` finds something in the name of `layer`; an empty one finds nothing."""
    return bool(expression and re.search(expression, layer))


def in_pieces(unit: int, *tensors: tuple[torch.Tensor, int]) -> Iterator[tuple[torch.Tensor, ...]]:
    """Flat tensors side by side, cut into pieces of whole units of `unit` weights; each comes with how many of its
    elements belong to one unit."""
    units = max(1, PIECE // unit)
    return zip(*(tensor.split(units * count) for tensor, count in tensors), strict=True)
