"""Weights moved in two passes a direction are those of a pass for each move, whenever anybody looks."""

import random
from typing import Any

import pytest
import torch
from torch import nn

from tightfit.memory.table import layer_table
from tightfit.numerics.noise.perturbation import NOISES, Move, Noise, Perturbation
from tightfit.numerics.noise.probes import InPlace
from tightfit.optimizers.base import Batch, Learner
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.zeroth_order import ZerothOrder
from tightfit.run.evaluate import cross_entropy

from .test_contract import tiny_batch, tiny_model, weights

STEPS = 12


class MoveByMove(InPlace):
    """The slow twin: a pass for each move, as soon as it is known."""

    def _plan_move_to(self, scale: float, step: int, query: int) -> None:
        super()._plan_move_to(scale, step, query)
        due, self._due = self._due, []
        for move in due:
            self._perturbation.add_(*move)


def mezo(noise: Noise, queries: int = 1, kernel: Any = "auto") -> MeZO:
    return MeZO(0.01, 1e-2, clip=20.0, queries=queries, direction=Independent(noise, kernel))


def elastic_zo(noise: Noise) -> ElasticZO:
    return ElasticZO(0.01, 1e-2, bp_lr=0.1, bp_layers=1, clip=20.0, direction=Independent(noise))


METHODS: dict[str, ZerothOrder] = {
    **{f"mezo_{noise}": mezo(noise) for noise in NOISES},
    **{f"mezo_{noise}_3_queries": mezo(noise, queries=3) for noise in NOISES},
    "mezo_portable": mezo("gaussian", queries=2, kernel="portable"),
    **{f"elastic_zo_{noise}": elastic_zo(noise) for noise in NOISES},
}


def bind(optimizer: ZerothOrder, dtype: torch.dtype = torch.float32) -> Any:
    return optimizer.bind(tiny_model().to(dtype), cross_entropy, seed=0)


def step(learner: Learner, number: int, dtype: torch.dtype = torch.float32) -> None:
    batch = tiny_batch(number)
    learner.step(Batch(batch.inputs.to(dtype), batch.labels, number, batch.epoch))


def saved(learner: Learner) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in learner.state_dict()["model"].values()])


@pytest.mark.filterwarnings("ignore:restore='merged'")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("optimizer", METHODS.values(), ids=METHODS.keys())
def test_bits_are_those_of_a_pass_for_each_move_whenever_they_are_read(
    optimizer: ZerothOrder, dtype: torch.dtype
) -> None:
    learner, twin = bind(optimizer, dtype), bind(optimizer, dtype)
    twin._probe = MoveByMove(twin._probe._perturbation)
    reads = random.Random(0)
    for number in range(STEPS):
        step(learner, number, dtype)
        step(twin, number, dtype)
        if reads.random() < 0.3 or number == STEPS - 1:
            look = reads.choice([weights, saved])
            assert torch.equal(look(learner), look(twin))


@pytest.mark.parametrize("queries", [1, 3])
def test_a_step_makes_as_many_passes_as_it_is_said_to_cost(queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer, passes, add_all_ = mezo("gaussian", queries), [], Perturbation.add_all_

    def count(perturbation: Perturbation, moves: Any, stochastically: bool = False) -> None:
        passes.append(moves)
        add_all_(perturbation, moves, stochastically)

    monkeypatch.setattr(Perturbation, "add_all_", count)
    learner = bind(optimizer)
    for number in range(4):
        step(learner, number)
    assert len(passes) == 4 * optimizer.cost(layer_table(tiny_model(), (8,)), batch_size=1).sweeps


def test_several_moves_in_one_pass_are_one_after_the_other() -> None:
    moves = [Move(0.3, 1), Move(-0.7, 2), Move(0.1, 1)]
    ends = []
    for at_once in (False, True):
        tensors = [nn.Parameter(torch.ones(size), requires_grad=False) for size in (5, 3000)]
        perturbation = Perturbation([(str(number), tensor) for number, tensor in enumerate(tensors)], seed=0)
        for part in [moves] if at_once else [[move] for move in moves]:
            perturbation.add_all_(part)
        ends.append(torch.cat([tensor.data for tensor in tensors]))
    assert torch.equal(*ends)


def test_a_state_loaded_over_moves_that_were_put_off_is_what_is_read() -> None:
    learner = bind(mezo("gaussian"))
    at_first = {name: tensor.clone() for name, tensor in learner.state_dict()["model"].items()}
    step(learner, 0)
    learner.load_state_dict({"model": at_first})
    assert all(torch.equal(at_first[name], tensor) for name, tensor in learner.state_dict()["model"].items())


@pytest.mark.parametrize("failing", [1, 2], ids=["plus", "minus"])
def test_weights_are_at_rest_after_a_loss_that_could_not_be_taken(failing: int) -> None:
    left = [failing]

    def objective(model: Any, batch: Batch) -> torch.Tensor:
        left[0] -= 1
        if not left[0]:
            raise RuntimeError("out of memory")
        return cross_entropy(model, batch)

    learner = mezo("gaussian").bind(tiny_model(), objective, seed=0)
    before = weights(learner)
    with pytest.raises(RuntimeError):
        step(learner, 0)
    assert (weights(learner) - before).abs().max() <= 3 * 2**-23  # three roundings of numbers below 4
