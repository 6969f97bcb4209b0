from __future__ import annotations

import math

import pytest

from analysis.summary import estimate, wilson


def test_three_seeds_have_a_t_interval():
    result = estimate([0.90, 0.91, 0.92])
    half = 4.303 * 0.01 / math.sqrt(3)
    assert (result.mean, result.spread) == pytest.approx((0.91, 0.01))
    assert (result.low, result.high) == pytest.approx((0.91 - half, 0.91 + half))
    assert (result.n, result.interval) == (3, "seeds")


def test_one_seed_has_the_interval_of_its_test_set_and_says_so():
    result = estimate([0.5], examples=100)
    assert math.isnan(result.spread)
    assert (result.low, result.high) == pytest.approx((0.4038, 0.5962), abs=1e-4)  # textbook values
    assert (result.n, result.interval) == (1, "test set")


def test_wilson_stays_between_zero_and_one():
    assert wilson(1.0, 10)[1] == pytest.approx(1.0)
    assert wilson(0.0, 10)[0] == pytest.approx(0.0)


def test_an_interval_of_shares_ends_at_one():
    assert estimate([0.90, 1.0]).high == 1.0


def test_many_seeds_use_the_last_tabulated_quantile():
    values = [0.4, 0.6] * 50
    result = estimate(values)
    assert result.high - result.mean == pytest.approx(2.042 * result.spread / 10)


def test_no_values_are_refused_with_what_to_do():
    with pytest.raises(ValueError, match="leave the cell blank"):
        estimate([])
