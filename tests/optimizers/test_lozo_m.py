"""Momentum kept in factors is momentum: against a twin that keeps it in full, and its limits."""

from typing import Any

import pytest
import torch

from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.directions.low_rank import LowRank
from tightfit.optimizers.lozo_m import LOZOM
from tightfit.optimizers.mezo import MeZO

from .test_conformance import Model, at_rest, batch

SHAPES = [(3, 37), (1, 1, 10), (5, 2, 3, 3), (17,), (40, 30)]
LR, EPS, BETA, QUERIES = 0.1, 0.01, 0.8, 2
both_restores = pytest.mark.parametrize("restore", ["merged", "exact"])


def slopes_of(step: int) -> list[float]:
    return [1.0 + 0.25 * step, -0.5 - 0.125 * step]


def trained(method: MeZO, steps: int) -> torch.Tensor:
    """The weights after steps of given slopes, whatever the model computes."""
    model = Model(SHAPES)
    losses = (
        torch.tensor(sign * slope * EPS) for step in range(steps) for slope in slopes_of(step) for sign in (1, -1)
    )
    learner = method.bind(model, lambda m, _: 0 * m().sum() + next(losses), seed=0)
    for step in range(steps):
        learner.step(batch(step))
    learner.resting_model()
    return at_rest(model).double()


def twin(direction: LowRank, steps: int) -> torch.Tensor:
    """The same in float64, with every momentum in full."""
    model = Model(SHAPES)
    named = list(model.named_parameters())
    along = direction.perturbation(named, 0, QUERIES)
    for _, parameter in named:
        stream, kept, columns = along.streams[parameter], 0, None
        flat, is_matrix = parameter.data.double().flatten(), parameter.dim() > 1
        for step in range(steps):
            counters = [along.counter(step, query) for query in range(QUERIES)]
            if is_matrix:
                estimates = [stream.rows(counter).double() for counter in counters]
                before, columns = columns, stream.columns(step // direction.period).double()
                if step and step % direction.period == 0:
                    kept = columns @ before.T / columns.shape[1] @ kept
            else:
                estimates = [torch.cat(list(stream.draws(counter))).double() for counter in counters]
            mean = sum(s * z for s, z in zip(slopes_of(step), estimates, strict=True)) / QUERIES
            kept = BETA * kept + (1 - BETA) * mean
            flat -= LR * ((kept.T @ columns).flatten() if is_matrix else kept)
        parameter.data = flat.float().view(parameter.shape)
    return at_rest(model).double()


@both_restores
@pytest.mark.parametrize("period", [1, 3, 100])
def test_momentum_in_factors_is_that_of_a_twin_that_keeps_it_in_full(period: int, restore: str) -> None:
    direction = LowRank(4, period)
    ours = trained(LOZOM(LR, EPS, queries=QUERIES, restore=restore, direction=direction, beta=BETA), 7)
    theirs = twin(direction, 7)
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()  # tens of sums in float32


def test_within_a_period_the_factors_lose_nothing_of_a_sum_of_whole_directions() -> None:
    direction, steps = LowRank(2, 100), 6
    start, model = at_rest(Model(SHAPES)).double(), Model(SHAPES)
    along = direction.perturbation(list(model.named_parameters()), 0, QUERIES)
    parts = []
    for parameter in [*model.parameters(), list(model.parameters())[-1]]:
        stream, kept, moved = along.streams[parameter], 0, 0
        for step in range(steps):
            zs = [torch.cat(list(stream.draws(along.counter(step, query)))).double() for query in range(QUERIES)]
            kept = BETA * kept + (1 - BETA) * sum(s * z for s, z in zip(slopes_of(step), zs, strict=True)) / QUERIES
            moved = moved - LR * kept
        parts.append(moved)
    ours = trained(LOZOM(LR, EPS, queries=QUERIES, restore="exact", direction=direction, beta=BETA), steps)
    whole = torch.cat(parts)
    assert (ours - start - whole).abs().max() < 1e-5 * whole.abs().max()


@both_restores
def test_without_memory_it_is_lozo_within_rounding(restore: str) -> None:
    direction = LowRank(3, 2)
    settings: dict[str, Any] = {"queries": QUERIES, "restore": restore, "direction": direction}
    without, lozo = trained(LOZOM(LR, EPS, beta=0.0, **settings), 5), trained(MeZO(LR, EPS, **settings), 5)
    assert (without - lozo).abs().max() < 1e-6 * lozo.abs().max()


def test_its_state_is_one_number_for_each_row_and_rank() -> None:
    learner = LOZOM(LR, EPS, direction=LowRank(4, 5)).bind(Model(SHAPES), lambda m, _: m().sum(), seed=0)
    learner.step(batch(0))
    sizes = {tuple(each["kept"].shape) for each in learner.state_dict()["momenta"].values()}
    assert sizes == {(3, 3), (1, 1), (4, 5), (17,), (4, 40)}


def test_other_directions_and_momentum_that_never_fades_are_refused() -> None:
    with pytest.raises(ValueError, match="choose direction=low_rank"):
        LOZOM(LR, EPS, direction=Independent())
    with pytest.raises(ValueError, match=r"beta=1\.0 but momentum must fade"):
        LOZOM(LR, EPS, beta=1.0)
