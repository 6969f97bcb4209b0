"""What stays is the nearest sparse point, which is its own, and exactly as many numbers as asked for."""

import itertools

import pytest
import torch

from tightfit.numerics.sparsity import kept_of, largest


def weights(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_exactly_so_many_stay_even_where_all_are_of_one_size() -> None:
    assert largest(torch.ones(3, 8), 5).sum(dim=1).tolist() == [5, 5, 5]
    assert largest(-torch.arange(4.0).view(1, 4), 2).tolist() == [[False, False, True, True]]


@pytest.mark.parametrize(("share", "entries"), [(0.25, None), (0.1, 4), (1.0, None)])
def test_projecting_twice_is_projecting_once(share: float, entries: int | None) -> None:
    for given in (weights(6, 10), weights(4, 3, 5, 5)):
        once = given * kept_of(given, share, entries)
        assert torch.equal(once * kept_of(once, share, entries), once)


def test_no_sparse_point_is_nearer() -> None:
    given = weights(2, 4)
    ours = (given - given * kept_of(given, 0.5, None)).norm()
    for places in itertools.combinations(range(8), 4):
        other = torch.zeros(8).index_fill(0, torch.tensor(places), 1).view(2, 4)
        assert ours <= (given - given * other).norm()


def test_each_kernel_keeps_its_best_pattern_and_other_layers_a_share() -> None:
    kernels = weights(4, 3, 5, 5)
    kept = kept_of(kernels, 0.1, 4)
    assert (kept.sum(dim=(2, 3)) == 4).all()
    least_kept = kernels.abs().where(kept, torch.inf).amin(dim=(2, 3))
    most_lost = kernels.abs().where(~kept, -torch.inf).amax(dim=(2, 3))
    assert (least_kept >= most_lost).all()
    assert kept_of(weights(10, 10), 0.1, 4).sum() == 10
    assert kept_of(weights(2, 2, 1, 1), 0.1, 4).all()


def test_at_least_one_stays() -> None:
    assert kept_of(weights(3, 3), 0.01, None).sum() == 1
