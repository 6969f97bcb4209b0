"""A perturbation that rounds to nothing is refused before any step is made in vain."""

from typing import Any

import pytest
import torch
from torch import nn

from tightfit.numerics.noise.rounding import check_rounding, share_moved
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.mezo import MeZO
from tightfit.run.evaluate import cross_entropy


def test_a_move_below_half_the_distance_to_the_next_number_is_lost() -> None:
    ones = torch.ones(4096, dtype=torch.bfloat16)  # the next number is 2⁻⁷ above and 2⁻⁸ below
    assert share_moved([ones], 2.0**-20) == 0.0
    assert share_moved([ones], 2.0) > 0.99
    # Moved by more than 2⁻⁸ up or 2⁻⁹ down, z beyond 2 or −1 of 2⁻⁹: 2.3 % and 15.9 % of a normal distribution.
    assert share_moved([ones], 2.0**-9) == pytest.approx(0.182, abs=0.02)


def test_every_number_counts_alike_and_none_is_changed() -> None:
    fixed, moving = torch.full((100,), 1e9), torch.zeros(300)
    assert share_moved([fixed, moving], 1e-3) == 0.75
    assert not moving.any()


def test_what_is_lost_in_16_bits_passes_in_32() -> None:
    weights = torch.full((64,), 0.1)
    check_rounding([weights], 1e-5)
    with pytest.raises(ValueError, match=r"optimizer.eps=1e-05 changes 0.0% of the weights in bfloat16, .* larger eps"):
        check_rounding([weights.bfloat16()], 1e-5)


@pytest.mark.parametrize("optimizer", [MeZO(lr=0.1, eps=1e-6), ElasticZO(lr=0.1, bp_lr=0.1, eps=1e-6, bp_layers=1)])
def test_zeroth_order_methods_refuse_it_when_they_are_bound(optimizer: Any) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2)).bfloat16()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    with pytest.raises(ValueError, match=r"optimizer.eps=1e-06 changes 0.0% of the weights"):
        optimizer.bind(model, cross_entropy, seed=0)
