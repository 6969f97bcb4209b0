"""Steps as they are captured: on the CPU the host does what a graph would, on the same memory."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.synthetic import bars, straight_line
from tightfit.datasets.batches import Batches
from tightfit.models.lenet5 import lenet5
from tightfit.optimizers import captured as module
from tightfit.optimizers.base import Batch, Learner, Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.captured import captured
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.directions.torch_legacy import TorchLegacy
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.graphs import bucket, in_bucket
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.rules.sgd import SGD
from tightfit.optimizers.schedules import StepDecay
from tightfit.run.checkpoint import weights_digest
from tightfit.run.evaluate import cross_entropy
from tightfit.run.loss_log import LossLog

CPU = torch.device("cpu")
DEVICES = [CPU, pytest.param(torch.device("cuda"), marks=pytest.mark.cuda)]  # there by real graphs
METHODS = {
    "mezo": MeZO(StepDecay(3e-3, 0.5, 2.0), 1e-3, clip=1.0),
    "signs": MeZO(3e-3, 1e-3, direction=Independent("rademacher")),
    "three queries": MeZO(3e-3, 1e-3, clip=5.0, queries=3),
    "elastic_zo without layers by BP": ElasticZO(3e-3, 1e-3, bp_lr=0.1, bp_layers=0),
}


def batches(device: torch.device, steps: int = 12) -> list[Batch]:
    batches = Batches(bars(), 16, 0, device)
    return [Batch(*batches.batch(step), step, step / 4) for step in range(steps)]


def learner_of(method: Optimizer, device: torch.device, by_graph: bool) -> tuple[Learner, LossLog]:
    losses = LossLog(cross_entropy)
    learner = method.bind(lenet5(10, seed=0).to(device), losses, 0)
    return (captured(learner, "always", device)[0] if by_graph else learner), losses


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_captured_steps_give_the_reports_the_losses_and_the_weights_of_eager_ones(
    method: Optimizer, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CAPACITY", 5)  # so that losses are read because there is no more room
    eager, noted = learner_of(method, device, by_graph=False)
    learner, losses = learner_of(method, device, by_graph=True)
    expected, reports = [], []
    for batch in batches(device):
        expected.append(eager.step(batch).read())
        reports.append(learner.step(batch))
        if batch.step == 6:  # an evaluation
            assert weights_digest(learner.resting_model()) == weights_digest(eager.resting_model())
    assert not reports[-1].is_known
    assert [report.read() for report in reports] == expected
    assert bytes(losses) == bytes(noted)
    assert weights_digest(learner.resting_model()) == weights_digest(eager.resting_model())


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_run_stands_still_after_the_step_whose_loss_is_not_finite(device: torch.device) -> None:
    method = MeZO(3e-3, 1e-3, clip=1.0)
    eager, noted = learner_of(method, device, by_graph=False)
    learner, losses = learner_of(method, device, by_graph=True)
    reports = []
    for batch in batches(device, 6):
        if batch.step == 3:
            batch = replace(batch, inputs=batch.inputs * torch.inf)
        if batch.step <= 3:
            eager.step(batch)
        reports.append(learner.step(batch))
    finite = [bool(torch.isfinite(torch.tensor(report.read().loss))) for report in reports]
    assert finite.index(False) == 3
    assert bytes(losses) == bytes(noted)
    one, other = (each.resting_model().state_dict() for each in (learner, eager))
    for name in one:  # the bits of what is no number differ between devices and compilers
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (Backprop(0.1, SGD()), "the host has a part in the steps of this method"),
        (ElasticZO(1e-3, 1e-3, bp_lr=0.1, bp_layers=1), "the rule of the layers that are backpropagated"),
        (MeZO(1e-3, 1e-3, restore="exact"), "restore=merged"),
        (MeZO(1e-3, 1e-3, direction=Independent("torch_gaussian")), "PyTorch's generator"),
        (MeZO(1e-3, 1e-3, direction=TorchLegacy()), "independent numbers"),
    ],
    ids=["bp", "elastic_zo", "exact", "torch_gaussian", "torch_legacy"],
)
def test_what_cannot_be_captured_is_stepped_as_ever_for_a_reason_and_refused_where_it_always_should(
    method: Optimizer, reason: str
) -> None:
    learner = method.bind(lenet5(10, seed=0), cross_entropy, 0)
    same, told = captured(learner, "auto", torch.device("cuda"))
    assert same is learner
    assert (told["steps"], reason in told["reason"]) == ("eager", True)
    with pytest.raises(ValueError, match=r"training\.capture=always but .*choose training\.capture=auto"):
        captured(learner, "always", CPU)


@pytest.mark.parametrize("capture", ["auto", "never"])
def test_on_the_cpu_steps_are_captured_only_where_that_is_asked_for(capture: str) -> None:
    learner = METHODS["mezo"].bind(lenet5(10, seed=0), cross_entropy, 0)
    assert captured(learner, capture, CPU) == (learner, {})


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_model_that_draws_in_its_passes_goes_on_eagerly_and_the_reason_is_told(device: torch.device) -> None:
    model = nn.Sequential(nn.Dropout(0.5), straight_line(10, 0)).to(device)
    twin = nn.Sequential(nn.Dropout(0.5), straight_line(10, 0)).to(device)
    learner, told = captured(METHODS["mezo"].bind(model, cross_entropy, 0), "always", device)
    eager = METHODS["mezo"].bind(twin, cross_entropy, 0)
    for batch in batches(device, 3):
        assert learner.step(batch).read() == eager.step(batch)
    assert told == {"steps": "eager", "reason": "its forward passes draw random numbers, such as masks of dropout"}
    assert weights_digest(learner.resting_model()) == weights_digest(eager.resting_model())


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_statistics_of_batches_move_as_in_eager_steps(device: torch.device) -> None:
    """What warms a capture up moves none."""
    models = [nn.Sequential(nn.BatchNorm2d(1), straight_line(10, 0)).to(device) for _ in range(2)]
    learner, _ = captured(METHODS["mezo"].bind(models[0], cross_entropy, 0), "always", device)
    eager = METHODS["mezo"].bind(models[1], cross_entropy, 0)
    for batch in batches(device, 3):
        learner.step(batch), eager.step(batch)
    assert weights_digest(learner.resting_model()) == weights_digest(eager.resting_model())


def test_lengths_are_padded_to_few_and_never_past_what_the_model_reads() -> None:
    lengths = range(1, 513)
    assert [bucket(length) for length in (1, 8, 9, 57, 65, 129, 500)] == [8, 8, 16, 64, 80, 160, 512]
    assert len({bucket(length) for length in lengths}) == 8 + 4 * 3
    assert all(length <= bucket(length) <= max(8, length * 5 / 4 if length > 64 else length + 7) for length in lengths)
    assert bucket(129, most=140) == 140
    images = torch.zeros(2, 1, 28, 28)
    assert in_bucket(images, lenet5(10, seed=0)) is images
