from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.statistics import (
    RESAMPLES,
    Times,
    counts_alike,
    difference,
    estimate,
    hierarchical,
    improvement,
    performance_profile,
    student,
    times_to,
    wilson,
)


def test_three_seeds_of_unknown_examples_have_a_t_interval():
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
    assert estimate([0.90, 1.0], examples=10).high == 1.0


def test_many_seeds_use_the_last_tabulated_quantile():
    values = [0.4, 0.6] * 50
    result = estimate(values)
    assert result.high - result.mean == pytest.approx(2.042 * result.spread / 10)


def test_no_values_are_refused_with_what_to_do():
    with pytest.raises(ValueError, match="leave the cell blank"):
        estimate([])


def test_of_seeds_that_agree_only_the_test_set_is_uncertain_and_more_seeds_do_not_help():
    """The limit without a spread is the binomial's own interval, here nearly the normal one, up to an example."""
    half = 1.96 * math.sqrt(0.9 * 0.1 / 1000)
    for seeds in (2, 5, 50):
        assert hierarchical([0.9] * seeds, 1000) == pytest.approx((0.9 - half, 0.9 + half), abs=0.001)


def test_of_endless_examples_only_the_seeds_are_uncertain():
    """The other limit: as wide as Student's interval, up to the bootstrap's own steps."""
    values = [0.70, 0.74, 0.75, 0.77, 0.80]
    low, high = hierarchical(values, 10**9)
    by_seeds = estimate(values)
    assert high - low == pytest.approx(by_seeds.high - by_seeds.low, rel=0.05)


def test_an_interval_holds_the_truth_nineteen_times_of_twenty():
    """Seeds around 0.9 on one test set: each example has a difficulty, and a seed is right on the easier ones."""
    generator, hits = np.random.default_rng(1), 0
    for _ in range(200):
        difficulties = np.sort(generator.random(1000))
        skills = generator.normal(0.9, 0.01, size=5)
        low, high = hierarchical(np.searchsorted(difficulties, skills) / 1000, 1000)
        hits += low <= 0.9 <= high
    assert 180 <= hits <= 199  # 190 expected; the binomial's standard deviation is 3


def test_counts_are_binomial_and_the_better_seed_is_right_wherever_the_worse_is():
    values, examples = np.array([0.3, 0.3, 0.8, 1.0]), 50
    counts = counts_alike(values, examples, np.random.default_rng(0))
    assert counts.shape == (RESAMPLES, 4)
    assert (np.diff(counts, axis=1) >= 0).all()
    assert (counts[:, 0] == counts[:, 1]).all()  # equal seeds: equal counts, whatever is drawn
    assert (counts[:, 3] == examples).all()
    assert counts.mean(0) == pytest.approx(examples * values, abs=0.15)  # standard error 0.03
    assert counts[:, 2].var() == pytest.approx(examples * 0.8 * 0.2, rel=0.06)


def test_a_table_is_the_same_each_time():
    assert estimate([0.9, 0.92, 0.95], 1000) == estimate([0.9, 0.92, 0.95], 1000)


@pytest.mark.parametrize(("published", "verdict"), [(0.91, "agrees"), (0.5, "above"), (0.999, "below")])
def test_ours_is_set_against_a_published_value_on_both_sides(published: float, verdict: str):
    assert estimate([0.90, 0.91, 0.92], 1000).against(published) == verdict
    assert estimate([0.91], 1000).against(published) == ""


def test_student_is_by_the_number_of_values():
    assert (student(2), student(31), student(1000)) == (12.706, 2.042, 2.042)


def test_a_run_that_never_reaches_the_target_takes_infinitely_long():
    def course(*accuracies: float) -> np.ndarray:
        return np.column_stack([10.0 * np.arange(len(accuracies)), accuracies])

    times = times_to(0.8, [course(0.5, 0.8, 0.9), course(0.5, 0.7, 0.85), course(0.5, 0.6, 0.7)])
    assert (times.seconds, times.tries, times.median) == ((10.0, 20.0), 3, 20.0)
    assert times_to(0.9, [course(0.5, 0.9), course(0.5, 0.6), course(0.5, 0.7)]).median == math.inf
    assert math.isnan(Times((), 0).median)


def test_a_probability_of_improvement_counts_pairs_and_a_tie_half():
    assert improvement([3, 1], [2, 2]).probability == 0.5
    assert improvement([2, 3], [2, 1]).probability == pytest.approx(3.5 / 4)
    assert improvement([1, 5], [3, 3]).probability == 1 - improvement([3, 3], [1, 5]).probability


def test_few_seeds_leave_a_probability_of_improvement_open():
    likely = improvement([1.0, 2.0, 3.0], [1.5, 1.5, 2.5])
    assert likely.low < likely.probability < likely.high
    assert improvement([1.0] * 3, [1.0] * 3).probability == 0.5


def test_where_all_pairs_agree_a_bootstrap_knows_no_interval():
    likely = improvement([5, 6, 7], [1, 2])
    assert likely.probability == 1.0
    assert math.isnan(likely.low)
    assert math.isnan(likely.high)


def test_a_performance_profile_is_read_off_a_table_of_times():
    seconds = {
        ("fast", "a"): 10.0,
        ("slow", "a"): 25.0,
        ("fast", "b"): math.inf,
        ("slow", "b"): 40.0,
        ("fast", "c"): 1.0,
    }
    assert performance_profile({**seconds, ("fast", "d"): math.inf}, (1.0, 2.0, 3.0)) == {
        "fast": (0.5, 0.5, 0.5),  # a and c of four; none solves d
        "slow": (0.25, 0.25, 0.5),  # b, and a within three times; never c
    }


def test_a_difference_of_one_method_with_itself_is_centred_on_zero():
    found = difference([0.8, 0.81, 0.82], [0.82, 0.8, 0.81], 10_000)
    assert found.mean == pytest.approx(0.0)
    assert found.low == pytest.approx(-found.high, rel=0.05)


def test_a_difference_turns_round_with_its_sides():
    ones, others = [0.80, 0.81, 0.805, 0.79, 0.8], [0.78, 0.785, 0.79, 0.78, 0.77]
    there, back = difference(ones, others, 5_000), difference(others, ones, 5_000)
    assert (there.mean, there.low, there.high) == pytest.approx((-back.mean, -back.high, -back.low), abs=2e-3)


def test_a_test_set_that_both_methods_share_leaves_their_difference_more_certain():
    """Equal accuracies are right on the same examples; apart, each has the binomial's half-width, together √2 of it."""
    found = difference([0.9] * 4, [0.9] * 4, 1_000)
    assert (found.low, found.high) == (0.0, 0.0)
    apart = difference([0.9] * 4, [0.5] * 4, 1_000)
    half = 1.96 * math.sqrt(0.4 * 0.6 / 1_000)  # of the examples between the two, which decide
    assert (apart.high - apart.low) / 2 == pytest.approx(half, rel=0.05)


def test_one_seed_of_either_has_a_difference_without_an_interval():
    found = difference([0.9], [0.8, 0.81], 1_000)
    assert found.mean == pytest.approx(0.095)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
