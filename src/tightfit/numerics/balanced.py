"""Balanced truncation of a diagonal linear system: fewest states for what goes in and out.

The system is x_k = λ ⊙ x_{k−1} + B u_k, y_k = C x_k, complex and stable. Its Gramians solve P = Λ P Λᴴ + B Bᴴ and
Q = Λᴴ Q Λ + Cᴴ C; the square roots of the eigenvalues of P Q are its Hankel singular values σ. In balanced coordinates
both Gramians are diag(σ), and leaving out states r + 1 … n changes the transfer function by between σ_{r+1} and twice
the sum of the σ left out, at the frequency where that is most (Enns, 1984; Al-Saggaf and Franklin, 1987). Who takes the
real part of y keeps the upper bound, for a real part is no larger than its number, and has no lower one.

Roots of P and Q come from their eigenvectors and the balancing from a singular value decomposition (Laub et al., 1987):
Gramians of trained systems are too near to singular for a Cholesky decomposition.

Shapes: n states, h inputs and outputs. All in complex128.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class System:
    """transition: λ, (n,); drive: B, (n, h); readout: C, (h, n)."""

    transition: torch.Tensor
    drive: torch.Tensor
    readout: torch.Tensor


def reached(system: System) -> torch.Tensor:
    """P, of what inputs reach, (n, n)."""
    return system.drive @ system.drive.mH / (1 - system.transition[:, None] * system.transition.conj())


def seen(system: System) -> torch.Tensor:
    """Q, of what outputs see, (n, n)."""
    return system.readout.mH @ system.readout / (1 - system.transition.conj()[:, None] * system.transition)


def root(gramian: torch.Tensor) -> torch.Tensor:
    """R with R Rᴴ = `gramian`."""
    values, vectors = torch.linalg.eigh(gramian)
    return vectors * values.clamp(min=0).sqrt()


@dataclass(frozen=True)
class Balancing:
    """singular: σ, (n,), the largest first; into: (n, n), from states to balanced ones; back: (n, n), its inverse."""

    singular: torch.Tensor
    into: torch.Tensor
    back: torch.Tensor


def balancing(system: System) -> Balancing:
    """The change of coordinates that balances `system`. Rows of `into` and columns of `back` for σ of 0 are no use."""
    of_P, of_Q = root(reached(system)), root(seen(system))
    U, singular, Vh = torch.linalg.svd(of_Q.mH @ of_P)
    scale = singular.clamp(min=torch.finfo(singular.dtype).tiny).rsqrt()
    return Balancing(singular, (of_Q @ (U * scale)).mH, of_P @ (Vh.mH * scale))


def states_needed(singular: torch.Tensor, left_out: float) -> int:
    """The fewest states whose σ make all but a share `left_out` of the sum. singular: (n,), the largest first."""
    values = [float(value) for value in singular]
    most, without = left_out * sum(values), 0.0
    for needed in range(len(values), 1, -1):
        without += values[needed - 1]
        if without > most:
            return needed
    return 1


def truncated(system: System, balanced: Balancing, states: int) -> System:
    """The first `states` of the balanced states as a diagonal system again."""
    into, back = balanced.into[:states], balanced.back[:, :states]
    transition, vectors = torch.linalg.eig(into * system.transition @ back)
    drive = torch.linalg.solve(vectors, into @ system.drive)
    return System(transition, drive, system.readout @ back @ vectors)
