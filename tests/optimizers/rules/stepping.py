"""A rule stepped on a tensor by made gradients."""

from collections.abc import Iterable, Iterator

import torch
from torch import nn

from tightfit.optimizers.rules.rule import Rule, Stepper


def begun(rule: Rule, weights: torch.Tensor, name: str = "layer.weight", seed: int = 0) -> tuple[Stepper, nn.Parameter]:
    """`rule` at work on a copy of `weights`."""
    parameter = nn.Parameter(weights.clone())
    return rule.begin([(name, parameter)], seed), parameter


def stepped(rule: Rule, weights: torch.Tensor, gradients: Iterable[torch.Tensor], lr: float = 1e-2) -> torch.Tensor:
    """Where `rule` takes `weights` by `gradients`."""
    stepper, parameter = begun(rule, weights)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        stepper.step_(lr)
    return parameter.detach()


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gradients(steps: int, *shape: int, dtype: torch.dtype = torch.float64) -> Iterator[torch.Tensor]:
    return (random(*shape, seed=100 + step, dtype=dtype) for step in range(steps))
