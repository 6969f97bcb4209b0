"""Pruning reads no data, keeps what a layer gives better than magnitudes do, and what it left out stays out."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from tests.synthetic import bars
from tightfit.datasets.batches import Batches
from tightfit.memory.budget import MemoryBudget
from tightfit.memory.enforcement import Limit
from tightfit.memory.measured import STEPS_TO_PEAK, peak_live_bytes
from tightfit.memory.table import layer_table
from tightfit.models.base import Traits
from tightfit.models.lenet5 import lenet5
from tightfit.models.pointnet import pointnet
from tightfit.numerics.sparsity import kept_of
from tightfit.optimizers.admm_pruning import ADMMPruning, of_reconstruction, product, squares_of_outputs
from tightfit.optimizers.base import Batch, Learner
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.masked import Masked
from tightfit.optimizers.rules.sgd import SGD
from tightfit.records.record import read_evals, read_run
from tightfit.run.checkpoint import load
from tightfit.run.evaluate import cross_entropy
from tightfit.run.measurement import training_peak
from tightfit.run.rehearsal import batch_like, peak_live
from tightfit.run.session import carry_out

from ..killing import killed_at_second_checkpoint
from ..test_runner import without_seconds
from ..test_session import config

OURS = "tightfit.optimizers."
PRUNED = ("conv1", "conv2", "fc1", "fc2", "fc3")


def method(**settings: Any) -> ADMMPruning:
    return ADMMPruning(**{"share": 0.25, "epochs": 1.0, "least": 0.0, "most": 1.0, "period": 5} | settings)


def batch(step: int, shape: tuple[int, ...] = (8, 1, 28, 28), steps: int = 40) -> Batch:
    return Batch(torch.empty(shape), torch.empty(shape[0]), step, step / steps)


def pruned(steps: int, model: nn.Module | None = None, **settings: Any) -> Learner:
    learner = method(**settings).bind(model or lenet5(10, 0), cross_entropy, 0)
    for step in range(steps):
        learner.step(batch(step, steps=steps))
    return learner


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_nothing_but_the_shape_of_a_batch_is_read() -> None:
    ours, other = (method().bind(lenet5(10, 0), cross_entropy, 0) for _ in range(2))
    for step in range(12):
        spoiled = Batch(torch.full((8, 1, 28, 28), torch.nan), torch.full((8,), -1), step, step / 40)
        assert ours.step(batch(step)).loss == other.step(spoiled).loss
    assert torch.equal(weights(ours.resting_model()), weights(other.resting_model()))


def test_where_all_may_stay_no_weight_moves() -> None:
    model = lenet5(10, 0)
    assert torch.equal(weights(pruned(20, model, share=1.0).resting_model()), weights(lenet5(10, 0)))
    assert torch.equal(weights(model), weights(lenet5(10, 0)))


def test_at_rho_zero_and_before_the_first_step_it_is_pruning_by_magnitude() -> None:
    expected = lenet5(10, 0)
    with torch.no_grad():
        for name in PRUNED:
            weight = dict(expected.named_modules())[name].weight
            weight.mul_(kept_of(weight, 0.25, None))
    for learner in (pruned(0), pruned(12, rho=0.0)):
        assert torch.equal(weights(learner.resting_model()), weights(expected))
    assert method(rho=0.0).facts().rule == "magnitude"


def answers_apart(one: nn.Module, other: nn.Module) -> float:
    pixels = torch.rand(64, 1, 28, 28, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        return float((one(pixels) - other(pixels)).norm() / one(pixels).norm())


def test_it_keeps_what_the_network_answers_better_than_magnitudes_do_and_converges() -> None:
    learner, by_magnitude = pruned(120), pruned(0)
    scalars = learner.step(batch(120, steps=120)).scalars
    assert scalars["primal_residual"] < 0.05 < by_magnitude.state_dict()["scalars"]["primal_residual"]
    ours, theirs = (answers_apart(lenet5(10, 0), each.resting_model()) for each in (learner, by_magnitude))
    assert ours < 0.8 * theirs


def test_one_rho_is_as_good_for_inputs_of_any_size() -> None:
    """ρ is counted in the Gram matrix, so pixels of a thousandth of the size lead to the same weights."""
    model = nn.Sequential(nn.Linear(6, 4, bias=False))
    ours, small = (
        method(most=most, rho=10.0, growth=1.0).bind(copy.deepcopy(model), cross_entropy, 0) for most in (1.0, 1e-3)
    )
    for step in range(20):
        for learner in (ours, small):
            learner.step(batch(step, (8, 6)))
    torch.testing.assert_close(weights(ours.resting_model()), weights(small.resting_model()), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "convolution", "strided"])
def test_a_move_is_to_the_least_of_the_loss_along_its_gradient_for_each_output(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    layer: Any = {
        "linear": nn.Linear(6, 4),
        "convolution": nn.Conv2d(2, 4, 3, padding=1),
        "strided": nn.Conv2d(2, 4, 3, stride=2, padding=1, padding_mode="reflect"),
    }[kind]
    inputs = torch.randn((5, 6) if kind == "linear" else (5, 2, 8, 8), generator=generator)
    moved = torch.randn(layer.weight.shape, generator=generator)
    outputs = product(layer, inputs, moved)
    plain = nn.functional.linear(inputs, moved) if kind == "linear" else None
    assert plain is None or torch.equal(outputs, plain)
    gradient, loss, count = of_reconstruction(layer, inputs, moved.clone())
    assert count == outputs.numel() // 4
    torch.testing.assert_close(loss, outputs.square().mean())

    def losses(weights: torch.Tensor) -> torch.Tensor:
        return squares_of_outputs(layer, product(layer, inputs, weights)) / (2 * count)

    step = 1e-3
    slope = (losses(moved + step * gradient) - losses(moved - step * gradient)) / (2 * step)
    torch.testing.assert_close(slope, gradient.flatten(1).square().sum(dim=1), rtol=1e-2, atol=1e-4)


def test_patterns_leave_as_many_entries_in_each_kernel() -> None:
    model = pruned(30, entries=4).resting_model()
    for name in ("conv1", "conv2"):
        kernels = dict(model.named_modules())[name].weight
        assert (kernels.count_nonzero(dim=(2, 3)) == 4).all()
    assert model.fc1.weight.count_nonzero() == round(0.25 * model.fc1.weight.numel())


@pytest.mark.parametrize("stopped", [0, 1, 5, 11])
def test_it_resumes_as_if_it_had_not_stopped_and_leaves_the_weights_that_it_works_on(stopped: int) -> None:
    whole, part, resumed = (method().bind(lenet5(10, 0), cross_entropy, 0) for _ in range(3))
    for step in range(20):
        whole.step(batch(step))
    for step in range(stopped):
        part.step(batch(step))
        part.resting_model()  # an evaluation changes nothing
    resumed.load_state_dict(copy.deepcopy(part.state_dict()))
    for step in range(stopped, 20):
        report = resumed.step(batch(step))
    assert torch.equal(weights(whole.resting_model()), weights(resumed.resting_model()))
    assert report.scalars == whole.state_dict()["scalars"]


@pytest.mark.parametrize("examples", [1, 32])
@pytest.mark.parametrize("make", [lambda: lenet5(10, 0), lambda: pointnet(10, 0)], ids=["lenet5", "pointnet"])
def test_what_is_rehearsed_is_what_steps_hold_and_no_more_than_the_convention_says(make: Any, examples: int) -> None:
    model, shape = make(), (1, 28, 28)
    if model.__class__.__name__ == "PointNet":
        shape = (16, 3)  # type: ignore[assignment]
    given = Batch(torch.zeros(examples, *shape), torch.zeros(examples, dtype=torch.int64), 0, 0.0)
    rehearsed = peak_live(method(period=1), model, batch_like(model, shape, examples), cross_entropy)
    no_limit = Limit(MemoryBudget("unlimited"), torch.device("cpu"))
    assert rehearsed == training_peak(method(period=1), model, given, 0, no_limit).tensors.bytes
    assert rehearsed <= 1.02 * method().memory(layer_table(model, shape), examples).total


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_no_later_step_holds_more_than_the_first_two(share: float) -> None:
    model, peaks = lenet5(10, 0), []
    learner = method(share=share, period=3).bind(model, cross_entropy, 0)
    state = [leaf for leaf in tree_leaves(learner.state_dict()["pruned"]) if isinstance(leaf, torch.Tensor)]
    for step in range(8):
        given = batch(step, (1, 1, 28, 28))
        resident = [*model.parameters(), *state]
        peaks.append(peak_live_bytes(lambda given=given: learner.step(given), resident, (given.inputs, given.labels)))
    assert max(peaks) == max(peaks[:STEPS_TO_PEAK])
    analytic = method(share=share).memory(layer_table(model, (1, 28, 28)), 1).total
    assert max(peaks) <= analytic


def test_memory_is_inference_with_three_copies_of_the_weights_that_are_pruned() -> None:
    table = layer_table(lenet5(10, 0), (1, 28, 28))
    need = method().memory(table, 32)
    kernels = 150 + 2400 + 784 * 120 + 120 * 84 + 840
    assert need.optimizer_state == 3 * 4 * kernels
    assert need.gradients == 3 * 4 * 784 * 120
    assert need.errors == 4 * 32 * 6 * 28 * 28


def test_statistics_of_normalisation_do_not_see_drawn_pixels() -> None:
    model = pointnet(10, 0)
    before = copy.deepcopy(dict(model.named_buffers()))
    learner = method().bind(model, cross_entropy, 0)
    learner.step(batch(0, (4, 16, 3)))
    assert model.training
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


@pytest.mark.parametrize("rule", [SGD(), Adam()], ids=["sgd", "adam"])
def test_what_was_pruned_stays_exactly_zero_while_all_else_is_retrained(rule: Any) -> None:
    model = pruned(6).resting_model()
    zero = {name: parameter == 0 for name, parameter in model.named_parameters()}
    before = copy.deepcopy(model.state_dict())
    learner, stream = Backprop(0.01, Masked(rule)).bind(model, cross_entropy, 0), Batches(bars(), 16, 0)
    for step in range(10):
        learner.step(Batch(*stream.batch(step), step, 0.0))
    for name, parameter in model.named_parameters():
        assert (parameter[zero[name]] == 0).all()
        assert not torch.equal(parameter, before[name])
    assert model.fc1.weight.count_nonzero() == (~zero["fc1.weight"]).sum()


def test_without_zeros_a_masked_rule_is_the_rule_bit_for_bit_and_vectors_of_zeros_are_trained() -> None:
    stream, trained = Batches(bars(), 16, 0), []
    for rule in (Adam(), Masked(Adam())):
        model = lenet5(10, 0)
        nn.init.zeros_(model.fc1.bias)
        learner = Backprop(0.01, rule).bind(model, cross_entropy, 0)
        for step in range(4):
            learner.step(Batch(*stream.batch(step), step, 0.0))
        trained.append(model)
    assert torch.equal(*map(weights, trained))
    assert trained[1].fc1.bias.count_nonzero() > 100  # a few give nothing to any of these images
    table = layer_table(lenet5(10, 0), (1, 28, 28))
    assert Backprop(0.01, Masked(Adam())).memory(table, 32) == Backprop(0.01, Adam()).memory(table, 32)


def test_rho_grows_from_stage_to_stage_and_no_further() -> None:
    grown = method(epochs=2.0, rho=0.5, growth=10.0, stages=4)
    assert [grown.rho_at(epoch) for epoch in (0, 0.49, 0.5, 1.0, 1.5, 2.0, 99)] == [0.5, 0.5, 5, 50, 500, 500, 500]


class Reader(nn.Module):
    traits = Traits(input_dtype=torch.int64)

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Reader, "draws pixels, and Reader reads none; choose a model of images"),
        (
            lambda: nn.Sequential(nn.LayerNorm(4)),
            "prunes linear layers and convolutions, and Sequential has none that are trained; .* adapter=none",
        ),
    ],
)
def test_models_that_it_cannot_prune_are_refused_in_a_sentence(model: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        method().bind(model(), cross_entropy, 0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"share": 0.0}, "optimizer.share=0.0 is not above 0 and up to 1"),
        ({"rho": -1.0}, "optimizer.rho=-1.0 is not a finite number from 0"),
        ({"entries": 0}, "optimizer.entries=0 is not a number from 1"),
        ({"period": 0}, "optimizer.period=0 is not a number from 1"),
        ({"epochs": 0.0}, "optimizer.epochs=0.0 is not more than 0"),
        ({"least": 1.0}, "optimizer.least=1.0 is not below most=1.0; choose a range of pixels"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        method(**wrong)


def retraining(runs: Path, **changes: Any) -> dict[str, Any]:
    """A dense network is trained, pruned, and retrained under its mask: three runs, each from the weights before."""
    adam = {"_target_": OURS + "rules.adam.Adam"}
    training = {"epochs": 2, "evaluations": 2, "batch_size": 16}
    dense = {"optimizer": {"_target_": OURS + "bp.Backprop", "name": "bp_adam", "rule": adam, "lr": 1e-3}}
    prune = {"_target_": OURS + "admm_pruning.ADMMPruning", "name": "admm_pruning", "share": 0.25, "epochs": 2}
    return config(
        runs,
        optimizer={**dense["optimizer"], "rule": {"_target_": OURS + "rules.masked.Masked", "rule": adam}},
        pretraining={
            "optimizer": {**prune, "least": -1.0, "most": 2.0, "period": 2},
            "training": {"epochs": 2, "evaluations": 4, "batch_size": 16},
            "pretraining": {**dense, "training": training},
        },
        **changes,
    )


def test_three_runs_in_a_row_train_prune_and_retrain(tmp_path: Path) -> None:
    outcome = carry_out(retraining(tmp_path))
    assert outcome.status == "finished", outcome.reason
    retrained = load(outcome.folder / "weights.pt")
    folders = {
        record.method["rule"]: path.parent
        for path in tmp_path.glob("pretraining/*/run.json")
        if (record := read_run(path.parent)) is not None
    }
    assert folders.keys() == {"adam", "admm"}
    sparse = load(folders["admm"] / "weights.pt")
    assert retrained is not None
    assert sparse is not None
    for name in PRUNED:
        assert torch.equal(retrained[f"{name}.weight"] != 0, sparse[f"{name}.weight"] != 0)
    rows = read_evals(folders["admm"])
    assert rows[-1]["kept"] == pytest.approx(0.25, abs=1e-4)
    assert rows[-1]["primal_residual"] < rows[1]["primal_residual"]


def test_a_pruning_run_that_is_killed_goes_on_to_the_same_weights_and_rows(tmp_path: Path) -> None:
    described = retraining(tmp_path)
    alone = {**described, **described["pretraining"], "pretraining": None}
    expected = carry_out({**alone, "paths": {"runs": str(tmp_path / "whole")}})
    with killed_at_second_checkpoint():
        carry_out(alone)
    again = carry_out(alone)
    records = [read_run(each.folder) for each in (expected, again)]
    assert records[0] is not None
    assert records[1] is not None
    assert records[0].summary["weights_sha256"] == records[1].summary["weights_sha256"]
    assert without_seconds(read_evals(expected.folder)) == without_seconds(read_evals(again.folder))
