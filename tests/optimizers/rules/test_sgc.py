"""SGC: with as many measurements as numbers it is Adam; with fewer, what its second moment is decides the direction."""

from typing import Any

import pytest
import torch

from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.sgc import SGC, SecondMoment

from .stepping import begun, gradients, random, stepped

SINGLE = torch.float32


def test_with_as_many_measurements_as_numbers_it_is_adam() -> None:
    """Also where the last chunk is not full."""
    weights = random(7, 9, dtype=SINGLE)
    found, expected = (stepped(rule, weights, gradients(20, 7, 9, dtype=SINGLE)) for rule in (SGC(16, 16, 16), Adam()))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def direction(second_moment: SecondMoment) -> float:
    """The cosine of what a sparse gradient, always the same, is stepped along."""
    sparse = torch.zeros(512)
    sparse[torch.randperm(512, generator=torch.Generator().manual_seed(0))[:16]] = random(16, dtype=SINGLE)
    moved = stepped(SGC(512, 128, 16, second_moment), torch.zeros(512), [sparse] * 5)
    return float(torch.cosine_similarity(-moved, sparse, dim=0))


def test_one_second_moment_a_chunk_keeps_the_direction_that_one_a_measurement_loses() -> None:
    assert direction("scalar") > 0.9999
    assert direction("per_measurement") < 0.8


def test_at_most_so_many_numbers_of_a_chunk_move() -> None:
    moved = stepped(SGC(64, 32, 4), torch.zeros(3 * 64 - 5), gradients(1, 3 * 64 - 5, dtype=SINGLE))
    per_chunk = [int((part != 0).sum()) for part in moved.split(64)]
    assert max(per_chunk) == 4
    assert min(per_chunk) >= 1


def test_its_projection_is_of_the_seed_and_kept_by_none() -> None:
    kept = []
    for seed in (0, 0, 1):
        stepper, parameter = begun(SGC(64, 32, 4), random(8, 16, dtype=SINGLE), seed=seed)
        parameter.grad = random(8, 16, seed=1, dtype=SINGLE)
        stepper.step_(1e-2)
        kept.append(stepper.state_dict()["states"]["layer.weight"])
    assert torch.equal(kept[0]["mean"], kept[1]["mean"])
    assert not torch.equal(kept[0]["mean"], kept[2]["mean"])
    assert {name: part.numel() for name, part in kept[0].items()} == {"mean": 64, "square": 64}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"measurements": 1024}, "rule.sparsity=16, rule.measurements=1024, rule.chunk=512 do not increase"),
        ({"sparsity": 0}, "rule.sparsity=0, .* do not increase from 1"),
        ({"sparsity": 200}, "no more numbers can be recovered than are measured; choose such"),
        ({"second_moment": "none"}, "rule.second_moment='none' is not kept; choose per_measurement or scalar"),
        ({"eps": -1.0}, "rule.eps=-1.0 is not a finite number from 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SGC(**settings)
