"""Every floating-point method trains PointNet through the unchanged runner, normalisation included."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.synthetic import boxes
from tests.test_runner import Killed, KillingTracker, carry_out
from tightfit.datasets.batches import Batches, encoding_for
from tightfit.memory.budget import MemoryBudget
from tightfit.models.pointnet import PointNet, pointnet
from tightfit.optimizers.base import Batch, Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.sgd import SGD
from tightfit.records.record import read_evals
from tightfit.run.evaluate import cross_entropy, score
from tightfit.run.task import Task, Training

METHODS = {
    "bp_sgd": Backprop(0.05, SGD()),
    "bp_adam": Backprop(1e-3, Adam()),
    "mezo": MeZO(2e-4, 1e-3, clip=1.0),
    "mezo_2_queries": MeZO(2e-4, 1e-3, clip=1.0, queries=2),
    "elastic_zo_cls2": ElasticZO(2e-4, 1e-3, bp_lr=0.05, bp_layers=1, clip=1.0),
    "elastic_zo_cls1": ElasticZO(2e-4, 1e-3, bp_lr=0.05, bp_layers=2, clip=1.0, bp_pass="mean"),
}
every_method = pytest.mark.parametrize("optimizer", METHODS.values(), ids=METHODS.keys())


def task(optimizer: Optimizer, **training: Any) -> Task:
    options = {"epochs": 2, "evaluations": 3, "batch_size": 16, **training}
    device = torch.device("cpu")
    return Task(optimizer, pointnet(3, seed=0), boxes(), MemoryBudget("unlimited"), Training(**options), 0, device)


def batch(step: int) -> Batch:
    dataset = boxes()
    batches = Batches(dataset, 16, seed=0, encode=encoding_for(pointnet(3, 0), dataset))
    return Batch(*batches.batch(step), step, 0.0)


def buffers(model: PointNet) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.named_buffers()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())


@every_method
def test_killed_run_continues_to_the_same_weights_statistics_and_rows(optimizer: Optimizer, tmp_path: Path) -> None:
    whole = carry_out(task(optimizer), tmp_path / "whole")
    with pytest.raises(Killed):
        carry_out(task(optimizer), tmp_path / "killed", KillingTracker(at_row=3))
    resumed = carry_out(task(optimizer), tmp_path / "killed")
    assert resumed.summary["weights_sha256"] == whole.summary["weights_sha256"]  # of the whole state, buffers included
    losses = [[row["test_loss"] for row in read_evals(tmp_path / name)] for name in ("whole", "killed")]
    assert losses[0] == losses[1]


@every_method
def test_each_training_pass_moves_the_running_statistics_once(optimizer: Optimizer) -> None:
    model = pointnet(3, seed=0)
    learner = optimizer.bind(model, cross_entropy, seed=0)
    passes = sum(learner.step(batch(step)).forward_passes for step in range(2))
    assert {int(model.get_buffer(f"norm{place}.num_batches_tracked")) for place in range(1, 6)} == {passes}


@every_method
def test_scoring_uses_the_running_statistics_and_leaves_them_alone(optimizer: Optimizer) -> None:
    dataset, model = boxes(), pointnet(3, seed=0)
    learner = optimizer.bind(model, cross_entropy, seed=0)
    learner.step(batch(0))
    before, encode = buffers(model), encoding_for(model, dataset)
    alone, together = score(model, dataset.test[:1], encode), score(model, dataset.test, encode)
    assert model.training
    assert same(before, buffers(model))
    model.eval()
    expected = torch.nn.functional.cross_entropy(model(dataset.test.inputs), dataset.test.labels)
    assert together.loss == pytest.approx(expected.item(), rel=1e-5)
    assert alone.loss != together.loss


@every_method
def test_throwaway_step_that_measures_memory_disturbs_neither_weights_nor_statistics(
    optimizer: Optimizer, tmp_path: Path
) -> None:
    carry_out(task(optimizer), tmp_path / "run")
    fresh, dataset = pointnet(3, seed=0), boxes()
    assert read_evals(tmp_path / "run")[0]["test_loss"] == score(fresh, dataset.test, encoding_for(fresh, dataset)).loss


@pytest.mark.parametrize("name", ["mezo", "mezo_2_queries", "elastic_zo_cls2"])
def test_zeroth_order_training_peaks_within_a_twentieth_of_inference(name: str, tmp_path: Path) -> None:
    """The tail's gradients and errors are a thousandth; a temporary of the parameters' size would be far more."""
    record = carry_out(task(METHODS[name], epochs=1, evaluations=1), tmp_path / "run")
    peak, inference = (record.memory[f"measured_{which}peak_bytes"] for which in ("", "inference_"))
    assert peak <= 1.05 * inference < inference + 4 * 818_088


def test_slope_is_the_derivative_of_the_loss_with_the_statistics_of_the_batch() -> None:
    def in_double(model: Any, batch: Batch) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(batch.inputs.double()), batch.labels)

    model = pointnet(3, seed=0).double()
    gradients = torch.autograd.grad(in_double(model, batch(0)), list(model.parameters()))
    before = [parameter.clone() for parameter in model.parameters()]
    learner = MeZO(lr=1.0, eps=1e-7, direction=Independent("torch_gaussian")).bind(model, in_double, seed=0)
    slope = learner.step(batch(0)).scalars["slope"]
    moved = [b - after for b, after in zip(before, learner.resting_model().parameters(), strict=True)]  # slope × z
    derivative = sum((g * m).sum().item() for g, m in zip(gradients, moved, strict=True)) / slope
    assert derivative == pytest.approx(slope, rel=1e-3)  # of a loss with kinks, at a finite eps


def test_backpropagation_learns_boxes_through_the_loop(tmp_path: Path) -> None:
    assert carry_out(task(Backprop(0.05, SGD()), epochs=12), tmp_path / "run").summary["final_accuracy"] > 0.9


def test_elastic_zo_learns_boxes_through_the_loop(tmp_path: Path) -> None:
    optimizer = ElasticZO(1e-4, 1e-3, bp_lr=0.1, bp_layers=2, clip=1.0)
    carry_out(task(optimizer, epochs=20), tmp_path / "run")
    rows = read_evals(tmp_path / "run")
    assert rows[-1]["train_loss"] < 0.8 * rows[1]["train_loss"]
