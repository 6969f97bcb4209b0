"""WTA-CRS: exact losses and errors, and gradients of weights that are right on average, from a few rows."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.models.test_language_model import causal
from tests.optimizers.kept_bytes import kept_bytes, loss_and_gradients, relative_error
from tests.optimizers.test_bp_checkpointed import images, prompts
from tests.synthetic import adapted, bars
from tests.test_session import config
from tightfit.datasets.batches import Normalization
from tightfit.memory.table import layer_table
from tightfit.models.adapters.lora import LoRA
from tightfit.models.adapters.mp_lora import MPLoRA
from tightfit.models.adapters.tt import TensorTrains
from tightfit.models.lenet5 import lenet5
from tightfit.optimizers.activations.kept import KEPT
from tightfit.optimizers.activations.sampled_rows import norms_of, sampled, winners_and_draws
from tightfit.optimizers.activations.wta_crs import WTACRS
from tightfit.optimizers.base import Batch
from tightfit.optimizers.bp import Backprop, BackpropLearner
from tightfit.optimizers.phases import Phases
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.sgd import SGD
from tightfit.run.evaluate import cross_entropy
from tightfit.run.session import carry_out

ROWS, DRAWS = 200, 4000


def unequal_rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs (t, 8) and errors (t, 6) of which few rows have most of the mass, as by Pareto's law."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.rand(ROWS, 1, generator=generator).pow(-1 / 1.5)
    errors = torch.randn(ROWS, 6, generator=generator) * torch.rand(ROWS, 1, generator=generator).pow(-1 / 3)
    return torch.randn(ROWS, 8, generator=generator) * sizes, errors


Estimator = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int, torch.Generator], torch.Tensor]


def by_wta_crs(
    inputs: torch.Tensor, errors: torch.Tensor, norms: torch.Tensor, kept: int, draws: torch.Generator
) -> torch.Tensor:
    rows = sampled(inputs, norms, kept, draws)
    return errors[rows.index].t() @ rows.values


def by_crs(
    inputs: torch.Tensor, errors: torch.Tensor, norms: torch.Tensor, kept: int, draws: torch.Generator
) -> torch.Tensor:
    """Column-row sampling (Drineas et al., 2006): all rows drawn, each weighed by the inverse of its probability."""
    p = norms / norms.sum()
    index = torch.multinomial(p, kept, replacement=True, generator=draws)
    return (errors[index] / (kept * p[index])[:, None]).t() @ inputs[index]


def estimates(estimator: Estimator, norms: torch.Tensor, kept: int) -> torch.Tensor:
    inputs, errors = unequal_rows()
    draws = torch.Generator().manual_seed(1)
    return torch.stack([estimator(inputs, errors, norms, kept, draws) for _ in range(DRAWS)])  # (n, 6, 8)


def norms_by(kind: str) -> torch.Tensor:
    inputs, errors = unequal_rows()
    return {
        "inputs": norms_of(inputs),
        "cached": norms_of(inputs) * norms_of(errors),
        "stale": norms_of(inputs) * norms_of(errors.roll(7, 0)),
        "flat": torch.ones(ROWS),
    }[kind]


@pytest.mark.parametrize("norms", ["inputs", "cached", "stale", "flat"])
@pytest.mark.parametrize("kept", [20, 60])
def test_the_mean_of_many_draws_is_the_exact_gradient(norms: str, kept: int) -> None:
    found = estimates(by_wta_crs, norms_by(norms), kept)
    inputs, errors = unequal_rows()
    exact = errors.t() @ inputs
    error_of_mean = found.std(0).norm() / DRAWS**0.5
    # 1 is expected, and of some dozens of numbers hardly more. Where probabilities tell nothing of the errors, one row
    # makes nearly all of the variance: as of one number then, with three sigmas.
    assert (found.mean(0) - exact).norm() < (1.3 if norms in ("inputs", "cached") else 3) * error_of_mean
    assert error_of_mean < 0.06 * exact.norm()  # else this showed nothing


@pytest.mark.parametrize("kept", [20, 60])
def test_its_error_is_not_more_than_that_of_column_row_sampling(kept: int) -> None:
    inputs, errors = unequal_rows()
    exact = errors.t() @ inputs
    ours, theirs = (
        (estimates(estimator, norms_by("cached"), kept) - exact).square().mean().sqrt()
        for estimator in (by_wta_crs, by_crs)
    )
    assert ours < 0.95 * theirs


def test_winners_are_as_many_as_make_the_rest_least_and_weigh_one() -> None:
    norms = torch.tensor([1.0, 60.0, 2.0, 30.0, 1.0, 3.0, 2.0, 1.0])
    kept = 4

    def spread(winners: int) -> float:
        falling = sorted((norms / norms.sum()).tolist(), reverse=True)
        return (1 - sum(falling[:winners])) / (kept - winners)

    winners = min(range(kept), key=spread)
    index, weights = winners_and_draws(norms, kept, torch.Generator().manual_seed(0))
    assert winners == 2
    assert index[:winners].tolist() == [1, 3]
    assert weights[:winners].tolist() == [1, 1]
    p = norms / norms.sum()
    expected = spread(winners) / p[index[winners:]]
    assert torch.allclose(weights[winners:], expected.float())
    assert not set(index[winners:].tolist()) & {1, 3}


def test_all_rows_are_kept_exactly() -> None:
    inputs, errors = unequal_rows()
    found = by_wta_crs(inputs, errors, norms_of(inputs), ROWS, torch.Generator().manual_seed(0))
    assert relative_error(found, errors.t() @ inputs) < 1e-6


def test_rows_of_zeros_are_sampled_too() -> None:
    rows = sampled(torch.zeros(30, 4), norms_of(torch.zeros(30, 4)), 10, torch.Generator().manual_seed(0))
    assert rows.values.equal(torch.zeros(10, 4))
    assert rows.index.max() < 30


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Batch]]] = {
    "lenet5": (lambda: lenet5(10, 0), images),
    "llama": (lambda: causal("llama"), prompts),
    "gpt2": (lambda: causal("gpt2"), prompts),
    "llama_lora": (lambda: causal("llama", LoRA(2, 4)), prompts),
}
every_model = pytest.mark.parametrize(("build", "batch"), MODELS.values(), ids=MODELS.keys())


@every_model
def test_where_all_rows_are_kept_nothing_changes(build: Any, batch: Any) -> None:
    plain, found = (loss_and_gradients(policy, build(), batch(0)) for policy in (KEPT, WTACRS(share=1)))
    assert found[0] == plain[0]
    assert found[1].equal(plain[1])


@every_model
@pytest.mark.parametrize("norms", ["inputs", "cached"])
def test_losses_have_their_bits_and_gradients_are_right_on_average(build: Any, batch: Any, norms: str) -> None:
    model, given = build(), batch(0)
    policy = WTACRS(share=0.5, least=2, norms=norms)
    plain = loss_and_gradients(KEPT, model, given)
    found = [loss_and_gradients(policy, model, given, seed) for seed in range(64)]
    assert {loss for loss, _ in found} == {plain[0]}
    gradients = torch.stack([gradient for _, gradient in found])
    one = (gradients - plain[1]).norm(dim=1).square().mean().sqrt()
    assert one > 0
    assert (gradients.mean(0) - plain[1]).norm() < 0.25 * one  # an eighth is expected


def test_errors_of_inputs_and_of_biases_are_exact() -> None:
    model, batch = lenet5(10, 0), images(0)
    batch = replace(batch, inputs=batch.inputs.repeat(8, 1, 1, 1), labels=batch.labels.repeat(8))
    exact = {name for name, _ in model.named_parameters() if not name.startswith("fc") or name.endswith("bias")}
    grads = []
    for policy in (KEPT, WTACRS()):
        keeper = policy.prepare(model, Phases(), 0)
        with keeper.around(batch):
            cross_entropy(model, batch).backward()
        grads.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        model.zero_grad()
    same = {name for name in grads[0] if torch.allclose(grads[0][name], grads[1][name], rtol=1e-5, atol=1e-7)}
    assert same == exact


def smooth(width: int = 64) -> nn.Module:
    """Sigmoid linear units keep what goes in; what comes out is kept for the next layer alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*(part for _ in range(6) for part in (nn.Linear(width, width), nn.SiLU())))


def vectors(rows: int = 200, width: int = 64) -> Batch:
    return Batch(torch.randn(rows, width, generator=torch.Generator().manual_seed(0)), torch.arange(rows) % 3, 0, 0.0)


def test_an_input_that_nothing_else_keeps_becomes_its_rows() -> None:
    whole, rows = (kept_bytes(policy, smooth(), vectors()) for policy in (KEPT, WTACRS(share=0.25)))
    one = 200 * 64 * 4
    of_rows = 50 * (64 * 4 + 8)
    # Six inputs, of which the first is the batch.
    assert whole - rows == 5 * one - 6 * of_rows


def test_need_counts_rows_for_inputs_that_are_freed() -> None:
    table = layer_table(smooth(), (64,))
    need, plain = (Backprop(0.01, SGD(), policy).memory(table, 200) for policy in (WTACRS(share=0.25), KEPT))
    assert plain.activations - need.activations == 5 * 200 * 64 * 4 - 6 * 50 * (64 * 4 + 8)
    assert replace(need, activations=0) == replace(plain, activations=0)


def test_need_of_batches_too_small_to_sample_is_that_of_all() -> None:
    table = layer_table(lenet5(10, 0), (1, 28, 28))
    assert Backprop(0.01, SGD(), WTACRS()).memory(table, 8) == Backprop(0.01, SGD()).memory(table, 8)


def test_layers_that_read_the_same_numbers_share_rows() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.left, self.right = (nn.Linear(64, 64) for _ in range(3))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            hidden = self.first(inputs)
            return self.left(hidden) + self.right(hidden)

    rows = kept_bytes(WTACRS(share=0.25), Fork(), vectors())
    assert rows < 2 * 50 * (64 * 4 + 8) + 51200 + 4000  # of the batch and the fork; and what the loss keeps


def test_cached_norms_are_those_of_the_last_visit_of_an_example() -> None:
    policy = WTACRS(norms="cached", examples=8, least=2)
    batch = replace(vectors(6), examples=torch.tensor([5, 0, 3, 9, 2, 4]))
    model = smooth()
    keeper = policy.prepare(model, Phases(), 0)
    errors: list[torch.Tensor] = []
    model[-2].register_full_backward_hook(lambda _, __, of_outputs: errors.append(of_outputs[0]))
    with keeper.around(batch):
        cross_entropy(model, batch).backward()
    norms = keeper.state_dict()["10"]
    assert norms.shape == (8, 1)
    expected = errors[0].norm(dim=1)
    for place, row in ((5, 0), (0, 1), (3, 2), (1, 3), (2, 4), (4, 5)):  # example 9 has the place 1
        assert norms[place].item() == pytest.approx(expected[row].item(), rel=0.01)  # of 8 bits
    assert norms[6:].flatten().tolist() == [1, 1]


def test_a_run_says_which_examples_a_batch_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Batch] = []
    step = BackpropLearner.step
    monkeypatch.setattr(BackpropLearner, "step", lambda self, batch: (seen.append(batch), step(self, batch))[1])
    policy = {"_target_": "tightfit.optimizers.activations.wta_crs.WTACRS", "norms": "cached", "examples": 96}
    described = config(tmp_path)
    described["optimizer"]["activations"] = policy
    assert carry_out(described).status == "finished"
    told = [batch for batch in seen if batch.examples is not None]
    data = bars()
    encode = Normalization(data.mean, data.std)
    assert len(told) == 24  # epochs of six batches; the others are thrown away after their bytes are known
    assert all(encode(data.train.inputs[batch.examples]).equal(batch.inputs) for batch in told)


def test_cached_norms_of_longer_sequences_join_those_of_shorter_ones() -> None:
    model = causal("llama")
    keeper = WTACRS(norms="cached", examples=4).prepare(model, Phases(), 0)
    for width in (4, 8, 4):
        batch = prompts(0)
        batch = replace(batch, inputs=batch.inputs[:, :width])
        with keeper.around(batch):
            cross_entropy(model, batch)
    assert {norms.shape for norms in keeper.state_dict().values()} == {(4, 8)}


def test_cached_norms_lower_the_error_at_the_second_visit() -> None:
    batch, model = prompts(0), causal("llama")
    exact = loss_and_gradients(KEPT, model, batch)[1]

    def error(policy: WTACRS) -> float:
        total = 0.0
        for seed in range(20):
            keeper = policy.prepare(model, Phases(), seed)
            for step in range(2):
                model.zero_grad()
                with keeper.around(replace(batch, step=step)):
                    cross_entropy(model, batch).backward()
            found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
            total += relative_error(found, exact)
        model.zero_grad()
        return total

    assert error(WTACRS(norms="cached")) < 0.5 * error(WTACRS())


def test_state_of_cached_norms_is_counted() -> None:
    policy = WTACRS(norms="cached", examples=16, least=2)
    table = layer_table(causal("llama"), (8,))
    learner = Backprop(0.01, SGD(), policy).bind(causal("llama"), cross_entropy, 0)
    learner.step(prompts(0))
    held = sum(norms.nbytes for norms in learner.state_dict()["activations"].values())
    assert Backprop(0.01, SGD(), policy).memory(table, 4).optimizer_state == held


@pytest.mark.parametrize("adapter", [MPLoRA(4, 4), TensorTrains(2, 4, 2)])
def test_a_model_that_trains_no_linear_layer_is_refused_with_the_alternatives(adapter: Any) -> None:
    model = adapted(lenet5(10, 0), adapter)
    message = "LeNet5 trains the weights of none; choose activations=kept, mesa or checkpointed"
    with pytest.raises(ValueError, match=message):
        Backprop(0.01, Adam(), WTACRS()).bind(model, cross_entropy, seed=0)
    with pytest.raises(ValueError, match=message):
        Backprop(0.01, Adam(), WTACRS()).memory(layer_table(model, (1, 28, 28)), 1)


def test_targets_that_find_no_layer_are_named() -> None:
    with pytest.raises(ValueError, match="trains the weights of none called 'attn'"):
        Backprop(0.01, Adam(), WTACRS(targets="attn")).bind(lenet5(10, 0), cross_entropy, seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 0.0}, "activations.share=0.0 is not more than 0 and at most 1"),
        ({"least": 0}, "activations.least=0 is less than one; choose 1 or more"),
        ({"examples": 0}, "activations.examples=0 is less than one; choose 1 or more"),
        ({"targets": "fc("}, r"activations.targets='fc\(' is no regular expression .*; write one, or null for all"),
        ({"norms": "errors"}, "activations.norms='errors' is not known; choose inputs or cached"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WTACRS(**settings)
