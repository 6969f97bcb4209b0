"""The contract of training methods over the product of their axes: every two choices that go together meet in a cell,
and each test is made in every cell.

What there is to choose stands in `axes.py`, and what goes together in `cells.py`.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations, product

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from tightfit.memory.measured import peak_live_bytes
from tightfit.memory.parts import trained_blocks, trained_parameters
from tightfit.memory.table import layer_table
from tightfit.models.base import blocks_of_modules
from tightfit.run.evaluate import cross_entropy
from tightfit.run.rehearsal import peak_live

from .axes import AXES, INPUTS
from .cells import CELLS, METHODS, Cell, batch, bind, every_cell, goes_together, method_of, model_of, train, weights


def test_every_two_choices_that_go_together_meet_in_a_cell() -> None:
    met = {
        frozenset([one, other])
        for method, cell in CELLS
        for one, other in product([("method", method), *cell.items()], repeat=2)
    }
    for method, (axes, _) in METHODS.items():
        named = [("method", method), *((axis, name) for axis in (*axes, "adapter", "model") for name in AXES[axis])]
        for one, other in combinations(named, 2):
            if one[0] != other[0] and frozenset([one, other]) not in met:
                assert not may_meet(method, dict([one, other])), f"{one} never meets {other}"


def may_meet(method: str, fixed: Mapping[str, str]) -> bool:
    """Whether any cell of `method` has the choices in `fixed`."""
    axes = (*METHODS[method][0], "adapter", "model")
    names = product(*([fixed[axis]] if axis in fixed else AXES[axis] for axis in axes))
    return any(goes_together(method, dict(zip(axes, chosen, strict=True))) for chosen in names)


@every_cell
def test_small_steps_lower_the_loss_of_their_batch(method: str, cell: Cell) -> None:
    """Along any direction the slope is followed down, so a small step of every method leads down."""
    learner = bind(method, cell)
    losses = []
    for steps in (range(0), range(10)):
        train(learner, cell, steps)
        with torch.no_grad():
            losses.append(float(cross_entropy(learner.resting_model(), batch(cell))))
    assert losses[1] < losses[0]


@every_cell
def test_it_repeats_from_its_seed_and_resumes_as_if_it_had_not_stopped(method: str, cell: Cell) -> None:
    whole, again, part = bind(method, cell), bind(method, cell), bind(method, cell)
    assert train(whole, cell, range(4)) == train(again, cell, range(4))
    train(part, cell, range(2))
    resumed = bind(method, cell)
    resumed.load_state_dict(copy.deepcopy(part.state_dict()))
    train(resumed, cell, range(2, 4))
    assert torch.equal(weights(whole), weights(again))
    assert torch.equal(weights(whole), weights(resumed))


@every_cell
def test_it_reports_the_passes_it_made_and_leaves_no_gradient(
    method: str, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, forward, backward = model_of(cell), [], []
    block_of, trained = blocks_of_modules(model), trained_blocks(model)  # no error reaches those before: nor a pass
    within_a_block = next(
        part
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear | nn.Conv2d) and block_of[name] in trained
    )
    # Where both ends share a pass, a layer whose outputs cannot be moved answers for one half after the other.
    passed = model if cell.get("direction") == "rank_one" else within_a_block
    passed.register_forward_hook(lambda *_: forward.append(True))
    real = torch.Tensor.backward
    monkeypatch.setattr(
        torch.Tensor, "backward", lambda *given, **named: (backward.append(True), real(*given, **named))
    )
    optimizer = method_of(method, cell)
    report = optimizer.bind(model, cross_entropy, 0).step(batch(cell))
    assert (report.forward_passes, report.backward_passes) == (len(forward), len(backward))
    assert all(parameter.grad is None for parameter in model.parameters())
    cost = optimizer.cost(layer_table(model_of(cell), tuple(INPUTS[cell["model"]].shape[1:])), 8)
    assert (cost.backward > 0) == (report.backward_passes > 0)


@every_cell
def test_nothing_that_is_frozen_moves(method: str, cell: Cell) -> None:
    model = model_of(cell)
    trained = {name for name, _ in trained_parameters(model)}
    before = copy.deepcopy(model.state_dict())
    train(method_of(method, cell).bind(model, cross_entropy, 0), cell, range(2))
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved
    assert moved <= trained


@every_cell
def test_its_rehearsed_peak_is_the_measured_one(method: str, cell: Cell) -> None:
    optimizer, model, given = method_of(method, cell), model_of(cell), batch(cell)
    rehearsed = peak_live(optimizer, copy.deepcopy(model), given, cross_entropy)

    def two_steps() -> None:
        learner = optimizer.bind(model, cross_entropy, 0)
        for step in range(2):
            learner.step(replace(given, step=step))

    measured = peak_live_bytes(two_steps, model.parameters(), uncounted=(given.inputs, given.labels))
    if cell.get("restore") == "exact" and cell["model"] == "mlp":
        # Losses of a rehearsal are all 1. At a slope of 0 an exact update does nothing; here its noise is the peak.
        assert rehearsed <= measured
    else:
        assert rehearsed == measured


@every_cell
def test_its_breakdown_counts_what_is_trained_and_held(method: str, cell: Cell) -> None:
    model = model_of(cell)
    table = layer_table(model, tuple(INPUTS[cell["model"]].shape[1:]))
    trained = sum(parameter.nbytes for _, parameter in trained_parameters(model))
    one, two = (method_of(method, cell).memory(table, batch_size) for batch_size in (1, 2))
    assert one.parameters == two.parameters >= sum(parameter.nbytes for parameter in model.parameters())
    assert one.activations < two.activations
    assert one.gradients == two.gradients <= trained
    assert (one.gradients == trained) == (method == "bp")
    assert one.optimizer_state == two.optimizer_state == bytes_beside_the_model(method, cell)


def bytes_beside_the_model(method: str, cell: Cell) -> int:
    """What a learner saves after a step, numbers of steps left out."""
    learner = bind(method, cell)
    train(learner, cell, range(1))
    beside = {name: part for name, part in learner.state_dict().items() if name != "model"}
    return sum(leaf.nbytes for leaf in tree_leaves(beside) if isinstance(leaf, torch.Tensor) and leaf.dim())
