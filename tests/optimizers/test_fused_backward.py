"""Steps within the backward pass are those after it, with one gradient alive at a time."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.synthetic import adapted
from tightfit.memory.assumptions import Assumptions
from tightfit.memory.breakdown import Breakdown
from tightfit.memory.table import layer_table
from tightfit.memory.transformer import Transformer, transformer_table
from tightfit.models.adapters.tt import TensorTrains
from tightfit.models.lenet5 import lenet5
from tightfit.optimizers.activations.activations import Activations
from tightfit.optimizers.activations.checkpointed import Checkpointed
from tightfit.optimizers.activations.kept import Kept
from tightfit.optimizers.base import Batch
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.foam import FOAM
from tightfit.optimizers.rules.mofasgd import MoFaSGD
from tightfit.optimizers.rules.muon import Muon
from tightfit.optimizers.rules.rule import Rule
from tightfit.optimizers.rules.sgd import SGD
from tightfit.optimizers.rules.solo import SOLO
from tightfit.plan.subject import Subject
from tightfit.run.evaluate import cross_entropy
from tightfit.run.rehearsal import batch_like, peak_live

from .axes import INPUTS, tiny_llama

RULES = {"sgd": SGD(), "adam": Adam(), "foam": FOAM(), "mofasgd": MoFaSGD(), "solo": SOLO(), "muon": Muon()}


class TiedTwice(nn.Module):
    """Two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(inputs).relu())


MODELS: dict[str, tuple[Callable[[], nn.Module], torch.Tensor]] = {
    "lenet5": (lambda: lenet5(10, 0), INPUTS["lenet5"]),
    "llama": (tiny_llama, INPUTS["llama"]),
    "llama_tt": (lambda: adapted(tiny_llama(), TensorTrains(2, 4, 2)), INPUTS["llama"]),
    "tied": (TiedTwice, INPUTS["mlp"]),
}


def trained(optimizer: Backprop, model: str, steps: int = 4) -> torch.Tensor:
    make, inputs = MODELS[model]
    learner = optimizer.bind(make(), cross_entropy, 0)
    for step in range(steps):
        learner.step(Batch(inputs, torch.arange(8) % 3, step, epoch=0.0))
    return torch.cat([parameter.detach().flatten() for parameter in learner.resting_model().parameters()])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_the_weights_are_those_of_steps_after_the_pass_bit_for_bit(rule: Rule, model: str) -> None:
    after = Backprop(1e-2, rule)
    assert torch.equal(trained(after, model), trained(replace(after, fused_backward=True), model))


def test_so_they_are_with_blocks_computed_again() -> None:
    after = Backprop(1e-2, Adam(), Checkpointed())
    for model in ("lenet5", "llama"):
        assert torch.equal(trained(after, model), trained(replace(after, fused_backward=True), model))


def test_a_model_bound_twice_is_stepped_once() -> None:
    """Hooks stay for a pass alone."""
    optimizer, model = Backprop(1e-2, SGD(), fused_backward=True), lenet5(10, 0)
    optimizer.bind(model, cross_entropy, 0).step(Batch(INPUTS["lenet5"], torch.arange(8) % 3, 0, 0.0))
    model.load_state_dict(lenet5(10, 0).state_dict())
    optimizer.bind(model, cross_entropy, 0).step(Batch(INPUTS["lenet5"], torch.arange(8) % 3, 0, 0.0))
    found = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    assert torch.equal(found, trained(optimizer, "lenet5", steps=1))


def test_the_time_of_steps_within_the_pass_is_that_of_an_update() -> None:
    learner = Backprop(1e-2, Adam(), fused_backward=True).bind(lenet5(10, 0), cross_entropy, 0)
    learner.step(Batch(INPUTS["lenet5"], torch.arange(8) % 3, 0, 0.0))
    assert {"forward", "backward", "update"} <= learner.phases.seconds.keys()


def test_the_largest_gradient_is_counted_alone() -> None:
    table = layer_table(lenet5(10, 0), (1, 28, 28))
    after, within = (Backprop(1e-3, Adam(), fused_backward=fused).memory(table, 32) for fused in (None, True))
    assert within.gradients == 4 * 784 * 120
    assert replace(within, gradients=after.gradients) == after


@pytest.mark.parametrize("activations", [Kept(), Checkpointed()], ids=["kept", "checkpointed"])
def test_the_rehearsed_peak_falls_by_the_gradients_that_do_not_live_together(activations: Activations) -> None:
    """A model of equal layers and few examples, whose peak is at the end of the backward pass."""
    model = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(8)))
    after, within = (
        peak_live(Backprop(1e-3, SGD(), activations, fused), model, batch_like(model, (64,), 1), cross_entropy)
        for fused in (None, True)
    )
    one = 4 * 64 * 64
    assert 6.5 * one < after - within <= 7 * one


def test_a_plan_counts_one_gradient_and_the_backward_pass_of_all_blocks() -> None:
    llama, assumed = Transformer("small", "llama", 4, 64, 4, 128, 1000), Assumptions(rho=0.25)

    def planned(method: Backprop) -> Breakdown:
        return Subject("small", "bp", method, lambda s: transformer_table(llama, s, assumed), assumed).memory(16, 2)

    plain, fused = (planned(Backprop(1e-3, Adam(), fused_backward=fused)) for fused in (None, True))
    assert fused.gradients == 2 * 1000 * 64
    assert replace(fused, gradients=plain.gradients) == plain


@pytest.mark.parametrize("state_bytes", [2, 4])
def test_a_plan_counts_states_in_their_size_and_codes_in_theirs(state_bytes: float) -> None:
    llama, assumed = Transformer("small", "llama", 2, 64, 4, 128, 1000), Assumptions(1, state_bytes=state_bytes)
    table = transformer_table(llama, 16, assumed)
    count = sum(row.parameters for row in table.rows)
    subject = Subject("small", "bp", Backprop(1e-3, Adam()), lambda s: table, assumed)
    assert subject.memory(16, 2).optimizer_state == (2 * state_bytes + 4) * count  # and a copy of the weights
    norms = 5 * 64
    coded = replace(subject, method=Backprop(1e-3, SOLO())).memory(16, 2).optimizer_state
    assert coded == (count - norms) * (6 / 8 + 12 / 128) + norms * 2 * state_bytes + 4 * count
