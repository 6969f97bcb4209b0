"""Codes of few bits: packing loses nothing, and rounding goes where it says."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tightfit.numerics.few_bits import (
    LEVELS,
    log_codes,
    log_values,
    of_rank,
    packed,
    signed_codes,
    signed_values,
    unpacked,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bits", [2, 4])
@given(data=st.data())
def test_packed_codes_come_back_and_fill_whole_bytes(bits: int, data: st.DataObject) -> None:
    codes = torch.tensor(data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=40)), dtype=torch.uint8)
    held = packed(codes, bits)
    assert held.nbytes == -(-len(codes) * bits // 8)
    assert torch.equal(unpacked(held, bits, len(codes)), codes)


def test_levels_are_those_of_the_dynamic_exponent_of_four_and_two_bits() -> None:
    assert len(LEVELS[4]) == 16
    assert list(LEVELS[4]) == sorted(LEVELS[4])
    positive = [level for level in LEVELS[4] if level > 0]
    assert positive == [0.0055, 0.0325, 0.0775, 0.2125, 0.4375, 0.6625, 0.8875, 1.0]
    assert LEVELS[2] == (-0.55, 0.0, 0.55, 1.0)


@pytest.mark.parametrize("bits", [2, 4])
def test_signed_numbers_go_to_the_nearest_level_of_their_block(bits: int) -> None:
    values = (random(5, 40) - 0.5) * torch.tensor([1e-6, 1.0, 1.0, 1e6, 3.0])[:, None]
    found = signed_values(*signed_codes(values, bits), bits)
    levels = torch.tensor(LEVELS[bits]) * values.abs().amax(dim=1)[:, None, None]
    nearest = (levels - values[:, :, None]).abs().amin(dim=2)
    torch.testing.assert_close((found - values).abs(), nearest)


def test_a_block_of_zeros_stays_zero() -> None:
    zeros = torch.zeros(2, 32)
    assert not signed_values(*signed_codes(zeros, 4), 4).any()
    assert log_values(*log_codes(zeros, 2, 0.1, 1e-3, random(2, 32), unbiased=True)).max() <= 1e-12


@pytest.mark.parametrize("unbiased", [True, False])
def test_levels_of_a_logarithmic_scale_go_from_the_largest_to_a_quantile(unbiased: bool) -> None:
    values = random(3, 120) ** 4
    codes, largest, ratio = log_codes(values, 2, 0.1, 1e-9, random(3, 120, seed=1), unbiased)
    assert torch.equal(largest, values.amax(dim=1))
    lowest = torch.quantile(values, 0.1, dim=1)
    torch.testing.assert_close(log_values(torch.full((3, 1), 3.0), largest, ratio)[:, 0], lowest, rtol=1e-4, atol=0)
    assert set(codes.unique().tolist()) == {0, 1, 2, 3}


def test_unbiased_codes_are_neighbours_of_a_number_and_it_in_the_mean() -> None:
    """Where it is within the levels: 4,000 draws of 64 numbers, whose mean has an error of some 1 %."""
    values = random(1, 64).expand(4000, -1) ** 4
    codes, largest, ratio = log_codes(values.clone(), 2, 0.1, 1e-3, random(4000, 64, seed=1), unbiased=True)
    found, lowest = log_values(codes, largest, ratio), (largest * ratio**3)[:, None]
    within = (values >= lowest)[0]
    assert within.sum() > 50
    assert ((found / values <= 1.001 / ratio[:, None]) & (found / values >= 0.999 * ratio[:, None]))[:, within].all()
    error = found.std(dim=0) / 4000**0.5
    assert ((found.mean(dim=0) - values[0]).abs() <= 4.5 * error + 1e-6 * largest[0])[within].all()


def test_published_rounding_is_too_large_in_the_mean() -> None:
    values = random(1, 64).expand(4000, -1) ** 4
    found = log_values(*log_codes(values.clone(), 2, 0.1, 1e-3, random(4000, 64, seed=1), unbiased=False))
    assert found.mean() > 1.1 * values.mean()


@pytest.mark.parametrize("unbiased", [True, False])
def test_zeros_among_others_go_to_the_lowest_level_and_not_to_the_largest_number(unbiased: bool) -> None:
    values = torch.zeros(1, 40)
    values[0, :5] = 7.0
    found = log_values(*log_codes(values, 2, 0.1, 1e-3, torch.full((1, 40), 0.5), unbiased))
    assert torch.equal(found[0, :5], torch.full((5,), 7.0))
    torch.testing.assert_close(found[0, 5:], torch.full((35,), 7e-3))


def test_a_block_of_one_number_stays_that_number() -> None:
    found = log_values(*log_codes(torch.full((1, 40), 3.0), 2, 0.1, 1e-3, random(1, 40), unbiased=True))
    assert torch.equal(found, torch.full((1, 40), 3.0))


@given(quantile=st.floats(0, 0.99), width=st.integers(1, 50))
def test_ranks_are_those_of_torch_quantile(quantile: float, width: int) -> None:
    values = random(3, width)
    torch.testing.assert_close(of_rank(values, quantile), torch.quantile(values, quantile, dim=1))
