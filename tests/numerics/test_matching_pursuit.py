"""Matching pursuit finds sparse vectors again from few measurements, as often as theory and a slow twin say."""

import pytest
import torch

from tightfit.numerics.matching_pursuit import matching_pursuit


def problem(k: int, d: int, s: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A dictionary (k, d), and sparse vectors (count, d)."""
    random = torch.Generator().manual_seed(0)
    dictionary = torch.randn(k, d, generator=random, dtype=torch.float64) / k**0.5
    vectors = torch.zeros(count, d, dtype=torch.float64)
    for vector in vectors:
        vector[torch.randperm(d, generator=random)[:s]] = torch.randn(s, generator=random, dtype=torch.float64)
    return dictionary, vectors


def found(dictionary: torch.Tensor, targets: torch.Tensor, atoms: int) -> torch.Tensor:
    chosen, weights = matching_pursuit(dictionary, targets, atoms)
    return torch.zeros(len(targets), dictionary.shape[1], dtype=targets.dtype).scatter_(1, chosen, weights)


@pytest.mark.parametrize(
    ("k", "s", "least", "most"), [(128, 8, 1, 1), (128, 16, 1, 1), (256, 32, 1, 1), (128, 32, 0.2, 0.9)]
)
def test_sparse_vectors_are_recovered_while_measurements_are_many(k: int, s: int, least: float, most: float) -> None:
    dictionary, vectors = problem(k, 512, s, 20)
    errors = (found(dictionary, vectors @ dictionary.T, s) - vectors).norm(dim=1) / vectors.norm(dim=1)
    assert least <= (errors < 1e-9).double().mean() <= most


def test_it_chooses_one_after_another_what_explains_most_of_the_rest() -> None:
    dictionary, _ = problem(12, 20, 3, 1)
    target = torch.randn(12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    chosen: list[int] = []
    rest = target
    for _ in range(4):
        fits = {column: abs(float(dictionary[:, column] @ rest)) for column in range(20) if column not in chosen}
        chosen.append(max(fits, key=lambda column: fits[column]))
        weights = torch.linalg.lstsq(dictionary[:, chosen], target).solution
        rest = target - dictionary[:, chosen] @ weights
    columns, factors = matching_pursuit(dictionary, target[None], 4)
    assert columns[0].tolist() == chosen
    torch.testing.assert_close(factors[0], weights)


def test_no_column_is_chosen_twice_not_even_for_nothing() -> None:
    dictionary, _ = problem(12, 20, 3, 1)
    chosen, weights = matching_pursuit(dictionary, torch.zeros(3, 12, dtype=torch.float64), 5)
    assert all(len(set(each)) == 5 for each in chosen.tolist())
    assert not weights.any()
