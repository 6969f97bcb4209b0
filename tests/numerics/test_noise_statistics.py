"""The default noise is normal, independent, and the same everywhere."""

import hashlib
import math
from statistics import NormalDist

import pytest
import torch

from tests.numerics.noise_statistics import statistics_of
from tightfit.numerics.noise.counter_noise import TABLES, keys_for, noise_at, random_words
from tightfit.numerics.noise.perturbation import Perturbation

MOST = 5.0  # standard errors; of some forty statistics one is beyond that in 40,000 times


def test_the_table_is_the_same_on_every_machine() -> None:
    """Its numbers are so far from where float32 rounds the other way that no library's last bits matter."""
    table = TABLES["gaussian"]
    digest = hashlib.sha256(table.numpy().astype("<f4").tobytes()).hexdigest()
    assert digest == "8babbcaf96568f10165a1eab530c0e5c92d04de96761b6dbb3dadfa94baba37f"
    exact = torch.tensor([NormalDist().inv_cdf((i + 0.5) / 2**16) for i in range(2**16)], dtype=torch.float64)
    exact /= math.sqrt(math.fsum(z * z for z in exact.tolist()) / 2**16)
    for error in (-4e-13, 4e-13):  # two thousand times that of a double
        assert torch.equal((exact * (1 + error)).float(), table)


def test_the_first_numbers_of_a_stream_are_the_same_on_every_machine() -> None:
    numbers = noise_at(slice(0, 1024), TABLES["gaussian"], keys_for("w", 0, "gaussian").of(7))
    assert (
        hashlib.sha256(numbers.numpy().astype("<f4").tobytes()).hexdigest()
        == "3c156c242063c1cf59c3e14b648cdf52c2f1addc36cc74333ecc0d5fab730f65"
    )


def test_numbers_are_normal_and_independent_over_lanes_lags_tensors_and_steps() -> None:
    statistics = statistics_of("gaussian", 4_000_000)
    assert statistics.pop("Kolmogorov–Smirnov") < 1.95  # exceeded once in a thousand times
    assert {name: score for name, score in statistics.items() if abs(score) > MOST} == {}


def test_a_distribution_of_256_values_is_told_from_it() -> None:
    assert statistics_of("gaussian_fast", 4_000_000)["Kolmogorov–Smirnov"] > 1.95


def test_steps_that_share_a_direction_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Perturbation, "counter", lambda _, step, query: step // 2 + query)
    assert statistics_of("gaussian", 2_000_000)["1 steps apart"] > MOST


def test_no_word_comes_twice_in_twenty_thousand_steps() -> None:
    keys = [keys_for(name, 0, "gaussian") for name in ("first", "second")]
    words = torch.cat([random_words(torch.arange(32), key.of(step)) for key in keys for step in range(20_000)])
    assert len(words.unique()) == len(words)  # by chance one time in 20 million
