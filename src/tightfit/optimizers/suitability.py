"""Whether a model is of the numbers that a method trains, and has any of them left to train."""

from __future__ import annotations

from torch import nn

from tightfit.memory.parts import trained_parameters
from tightfit.models.base import traits_of
from tightfit.models.int8_layers import Int8Sequential


def check_floats(model: nn.Module, method: str) -> None:
    """Raise ValueError unless `model` has weights of floating point that training may change, and no other."""
    trained = [parameter for _, parameter in trained_parameters(model)]
    kind = type(model).__name__
    if not trained:
        raise ValueError(
            f"optimizer={method} has nothing to train: no parameter of {kind} requires gradients; call "
            "requires_grad_() on those that should be trained"
        )
    integers = [parameter.dtype for parameter in trained if not parameter.is_floating_point()]
    if integers:
        raise ValueError(
            f"optimizer={method} trains floating point, but {kind} has weights of {integers[0]}; choose "
            "optimizer=zo_int8, elastic_zo_int8 or niti_bp, or another model"
        )


def check_integers(model: nn.Module, method: str) -> None:
    """Raise ValueError unless `model` is a sequence of layers on int8 numbers."""
    if not isinstance(model, Int8Sequential):
        raise ValueError(
            f"optimizer={method} trains int8 layers, and {type(model).__name__} is not made of them; choose "
            "model=lenet5_int8, or optimizer=mezo, elastic_zo or bp_sgd"
        )


def check_moves(model: nn.Module, eps: float) -> None:
    """Raise ValueError where `model` rounds its weights so that probes at a distance of `eps` see none of them move."""
    unit = traits_of(model).rounded_to
    if eps < unit / 2:
        raise ValueError(
            f"optimizer.eps={eps:g} moves no weight of {type(model).__name__} to another number, for it rounds them to "
            f"multiples of {unit:g}; choose optimizer.eps={unit:g}"
        )


def check_smooth(model: nn.Module, method: str) -> None:
    """Raise ValueError where `model` rounds its weights, which no derivative is carried forwards through."""
    if traits_of(model).rounded_to:
        raise ValueError(
            f"optimizer={method} carries derivatives forwards, and {type(model).__name__} rounds its weights; choose "
            "optimizer=bp, or mezo with optimizer.eps=1"
        )
