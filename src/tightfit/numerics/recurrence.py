"""A linear recurrence of complex numbers, each by itself: x_k = λ ⊙ x_{k−1} + B u_k, from x_{−1} = 0.

One buffer holds first B u and then, written over it step after step, all states: they are what a backward pass needs,
and no more is kept. Complex numbers lie as pairs of real ones, so that B u of all steps is one product.

Shapes: b examples, t steps, h inputs, n states.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

STEPS = 4  # of which products are held at once


def states_of(inputs: torch.Tensor, drive: torch.Tensor, transition: torch.Tensor) -> torch.Tensor:
    """All states, (b, t, 2n): of each the real part, then the imaginary one.

    inputs: (b, t, h); drive: B, (2n, h) in pairs of rows; transition: λ, (n,) complex.
    """
    return Recurrence.apply(inputs, drive, transition)


class Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, drive: torch.Tensor, transition: torch.Tensor) -> torch.Tensor:
        states = F.linear(inputs, drive)
        x = as_complex(states)
        for k in range(1, x.shape[1]):
            x[:, k].addcmul_(x[:, k - 1], transition)
        ctx.save_for_backward(inputs, drive, transition, states)
        ctx.save_for_forward(inputs, drive, transition, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same recurrence from the last step to the first, by the conjugate of λ."""
        (gradient,) = gradients
        inputs, drive, transition, states = ctx.saved_tensors
        errors = gradient.clone()
        x, e, back = as_complex(states), as_complex(errors), transition.conj().resolve_conj()
        for k in range(x.shape[1] - 1, 0, -1):
            e[:, k - 1].addcmul_(e[:, k], back)
        of_transition = torch.zeros_like(transition)
        for before, after in zip(x[:, :-1].split(STEPS, dim=1), e[:, 1:].split(STEPS, dim=1), strict=True):
            of_transition += torch.linalg.vecdot(before, after, dim=1).sum(dim=0)
        of_drive = errors.flatten(0, 1).T @ inputs.flatten(0, 1)
        return errors @ drive, of_drive, of_transition

    @staticmethod
    def jvp(ctx: Any, *tangents: torch.Tensor | None) -> torch.Tensor:
        """Of the tangents of what goes in, where None is zero."""
        inputs, drive, transition = tangents
        u, B, by, states = ctx.saved_tensors
        tangent = torch.zeros_like(states)
        if inputs is not None:
            tangent += F.linear(inputs, B)
        if drive is not None:
            tangent += F.linear(u, drive)
        x, dx = as_complex(states), as_complex(tangent)
        for k in range(1, x.shape[1]):
            dx[:, k].addcmul_(dx[:, k - 1], by)
            if transition is not None:
                dx[:, k].addcmul_(x[:, k - 1], transition)
        return tangent


def as_complex(pairs: torch.Tensor) -> torch.Tensor:
    """(…, 2n) real as (…, n) complex, in the same memory."""
    return torch.view_as_complex(pairs.unflatten(-1, (-1, 2)))


def in_pairs(numbers: torch.Tensor) -> torch.Tensor:
    """(n, …) complex as (2n, …) real: the reverse of `as_complex`, along the first dimension, in new memory."""
    return torch.stack([numbers.real, numbers.imag], dim=1).flatten(0, 1)
