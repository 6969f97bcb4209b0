"""The derivative of a loss along a direction, by forward-mode differentiation: weights that never move.

Each module gets dual numbers in place of its own weights while it runs: the weights, and z as their tangent. What it
returns carries its own derivative along z to the next, and nothing is kept for a way back. So z exists for one layer at
a time, and there is no length of a perturbation to choose.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from tightfit.numerics.noise.flat import flat, shaped_as
from tightfit.numerics.noise.perturbation import Perturbation
from tightfit.numerics.noise.streams import PIECE

Own = list[tuple[str, nn.Parameter]]  # parameters of a module, by the names that it has for them


class Tangents:
    """Differentiates `model` along the directions of `perturbation`."""

    def __init__(self, model: nn.Module, perturbation: Perturbation) -> None:
        self._perturbation = perturbation
        self._names = {parameter: name for name, parameter in model.named_parameters()}
        self._modules = [(module, own) for module in model.modules() if (own := self._own_of(module))]

    def _own_of(self, module: nn.Module) -> Own:
        own = module.named_parameters(recurse=False)
        return [(name, parameter) for name, parameter in own if parameter in self._perturbation.streams]

    @contextmanager
    def along(self, step: int, query: int) -> Generator[None]:
        """While the result is entered, what the model returns carries its derivative along z(step, query).

        Attention is taken apart into operators: fused, it has no forward derivative on the CPU.
        Raises ValueError for an operator that has none, and when some parameter was used outside its own module.
        """
        seen: set[nn.Parameter] = set()
        counter = self._perturbation.counter(step, query)

        def enter(own: Own, module: nn.Module, _: Any) -> None:
            for name, parameter in own:
                dual: Any = forward_ad.make_dual(parameter.detach(), self._tangent(parameter, counter))
                module._parameters[name] = dual
                seen.add(parameter)

        def leave(own: Own, module: nn.Module, *_: Any) -> None:
            module._parameters.update(own)

        with ExitStack() as entered:
            entered.enter_context(torch.no_grad())
            entered.enter_context(sdpa_kernel(SDPBackend.MATH))
            entered.enter_context(forward_ad.dual_level())
            for module, own in self._modules:
                entered.enter_context(module.register_forward_pre_hook(partial(enter, own)))
                entered.enter_context(module.register_forward_hook(partial(leave, own), always_call=True))
            try:
                yield
            except NotImplementedError as error:
                raise ValueError(
                    f"a part of this model has no forward derivative ({str(error).splitlines()[0]}); "
                    "choose optimizer=mezo, or another model or adapter"
                ) from error
        unused = [name for parameter, name in self._names.items() if self._is_missed(parameter, seen)]
        if unused:
            raise ValueError(f"{unused[0]} is not used by its own module's forward pass; choose optimizer=mezo")

    def _is_missed(self, parameter: nn.Parameter, seen: set[nn.Parameter]) -> bool:
        return parameter in self._perturbation.streams and parameter not in seen

    def _tangent(self, parameter: nn.Parameter, counter: int) -> torch.Tensor:
        """The direction for `parameter`, in its shape, layout and type."""
        tangent = torch.empty_like(parameter)
        draws = self._perturbation.streams[parameter].draws(counter)
        for piece, drawn in zip(flat(tangent).split(PIECE), draws, strict=True):
            piece.copy_(drawn)
        return shaped_as(flat(tangent), parameter)


def loss_and_slope(loss: torch.Tensor) -> tuple[float, float]:
    """What a loss taken inside `Tangents.along` is, and its slope there."""
    value, tangent = forward_ad.unpack_dual(loss)
    return value.item(), 0.0 if tangent is None else tangent.item()
