"""Gramians solve their equations, balancing makes them diag(σ), and what truncation changes is within its bounds."""

import itertools

import pytest
import torch

from tightfit.numerics.balanced import System, balancing, reached, seen, states_needed, truncated


def system(states: int = 24, features: int = 4, seed: int = 0) -> System:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.complex128)

    size, phase = torch.rand(2, states, generator=generator, dtype=torch.float64)
    return System(
        torch.polar((0.5 + 0.45 * size), 6.28 * phase), normal(states, features), normal(features, states) / states
    )


def transfer(system: System, frequencies: int = 400) -> torch.Tensor:
    """C (e^{iω} − Λ)⁻¹ B at frequencies all around, (f, h, h)."""
    around = torch.polar(torch.ones(frequencies, dtype=torch.float64), torch.linspace(0, 6.2832, frequencies).double())
    return torch.einsum("hn,fn,nk->fhk", system.readout, 1 / (around[:, None] - system.transition), system.drive)


def largest_difference(one: System, other: System) -> float:
    """The H∞ norm of their difference, on a grid."""
    return float(torch.linalg.matrix_norm(transfer(one) - transfer(other), ord=2).max())


def impulse(system: System, steps: int = 200) -> torch.Tensor:
    powers = system.transition[None] ** torch.arange(steps)[:, None]
    return torch.einsum("hn,tn,nk->thk", system.readout, powers, system.drive)


def test_gramians_solve_their_lyapunov_equations() -> None:
    given = system()
    L = torch.diag(given.transition)
    P, Q = reached(given), seen(given)
    assert (L @ P @ L.mH + given.drive @ given.drive.mH - P).norm() < 1e-13 * P.norm()
    assert (L.mH @ Q @ L + given.readout.mH @ given.readout - Q).norm() < 1e-13 * Q.norm()


def test_gramians_are_the_sums_that_they_are_defined_by() -> None:
    given = system(states=6)
    L, P = torch.eye(6, dtype=torch.complex128), torch.zeros(6, 6, dtype=torch.complex128)
    for _ in range(2000):
        P += L @ given.drive @ given.drive.mH @ L.mH
        L = L * given.transition[:, None]
    torch.testing.assert_close(P, reached(given), rtol=1e-10, atol=1e-10)


def test_in_balanced_coordinates_both_gramians_are_diagonal_with_the_same_numbers() -> None:
    given = system()
    balanced = balancing(given)
    sigma = torch.diag(balanced.singular).to(torch.complex128)
    torch.testing.assert_close(balanced.into @ reached(given) @ balanced.into.mH, sigma, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(balanced.back.mH @ seen(given) @ balanced.back, sigma, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(balanced.into @ balanced.back, torch.eye(24).to(sigma), rtol=1e-9, atol=1e-9)
    squares = torch.linalg.eigvals(reached(given) @ seen(given)).real.sort(descending=True).values
    torch.testing.assert_close(squares.sqrt(), balanced.singular, rtol=1e-9, atol=1e-12)


def test_with_all_states_the_system_is_the_same() -> None:
    given = system()
    same = truncated(given, balancing(given), 24)
    assert largest_difference(given, same) < 1e-10
    torch.testing.assert_close(
        same.transition.abs().sort().values, given.transition.abs().sort().values, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("states", [4, 12, 20])
def test_what_truncation_changes_is_within_its_bounds(states: int, seed: int) -> None:
    given = system(seed=seed)
    balanced = balancing(given)
    smaller = truncated(given, balanced, states)
    error, left_out = largest_difference(given, smaller), balanced.singular[states:]
    assert (smaller.transition.abs() < 1).all()  # stable, as it was
    assert 0.99 * left_out[0] <= error <= 2 * left_out.sum()  # on a grid of frequencies the largest may be missed


def test_a_transpose_without_conjugation_breaks_the_bound() -> None:
    """The fault of the published Cholesky branch, which the test above would find."""
    given = system()
    P, Q = reached(given), seen(given)
    U, sigma, Vh = torch.linalg.svd(torch.linalg.cholesky(Q).T @ torch.linalg.cholesky(P))
    scale = sigma.rsqrt()
    wrong = balancing(given)
    object.__setattr__(wrong, "into", scale[:, None] * (torch.linalg.cholesky(Q) @ U).T)
    object.__setattr__(wrong, "back", torch.linalg.cholesky(P) @ Vh.T * scale)
    assert largest_difference(given, truncated(given, wrong, 12)) > 2 * wrong.singular[12:].sum()


def test_balanced_states_are_better_than_as_many_chosen_at_random() -> None:
    given = system()
    response = impulse(given)

    def error(other: System) -> float:
        return float((impulse(other) - response).norm() / response.norm())

    ours = error(truncated(given, balancing(given), 16))
    for seed in range(20):
        kept = torch.randperm(24, generator=torch.Generator().manual_seed(seed))[:16]
        assert ours < error(System(given.transition[kept], given.drive[kept], given.readout[:, kept]))


def test_the_fewest_states_are_needed_that_leave_out_no_more_than_is_allowed() -> None:
    singular = torch.tensor([4.0, 3.0, 2.0, 1.0])
    asked = {0.0: 4, 0.09: 4, 0.1: 3, 0.29: 3, 0.3: 2, 0.59: 2, 0.6: 1, 0.99: 1}
    assert {share: states_needed(singular, share) for share in asked} == asked
    for share, count in itertools.product(asked, range(1, 5)):
        enough = float(singular[count:].sum()) <= share * float(singular.sum())
        assert enough == (count >= states_needed(singular, share))
