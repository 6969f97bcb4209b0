"""What every training method must do. A new one joins by adding its row to METHODS."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from tightfit.evaluate import cross_entropy
from tightfit.memory.measured import peak_live_bytes
from tightfit.memory.table import layer_table
from tightfit.models.lenet5 import lenet5
from tightfit.optimizers.base import Batch, Learner, Optimizer
from tightfit.optimizers.bp_adam import BPAdam
from tightfit.optimizers.bp_sgd import BPSGD
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.mezo import MeZO


@dataclass(frozen=True)
class Method:
    optimizer: Optimizer
    steps: int  # enough to learn the tiny problem
    measured_over_analytic: tuple[float, float]  # for LeNet-5 at batch 32
    measured_over_inference: float  # at most


# The convention counts all buffers as live at once. A real step frees what it no longer needs, so it stays
# between about half of the convention and all of it.
METHODS = {
    "bp_sgd": Method(BPSGD(lr=0.1), 60, (0.5, 0.65), 2.0),
    "bp_adam": Method(BPAdam(lr=0.02), 60, (0.55, 0.7), 2.5),
    "mezo": Method(MeZO(lr=0.003, eps=1e-3, clip=20.0), 500, (0.55, 0.65), 1.0),
    "mezo_4_queries": Method(MeZO(lr=0.01, eps=1e-3, clip=20.0, queries=4), 150, (0.55, 0.65), 1.0),
    "elastic_zo_minus": Method(ElasticZO(0.003, 0.1, 1e-3, bp_layers=1, clip=20.0), 100, (0.55, 0.65), 1.0),
    "elastic_zo_plus": Method(
        ElasticZO(0.003, 0.1, 1e-3, bp_layers=1, clip=20.0, bp_pass="plus"), 100, (0.55, 0.65), 1.01
    ),
    "elastic_zo_mean": Method(
        ElasticZO(0.003, 0.1, 1e-3, bp_layers=1, clip=20.0, bp_pass="mean"), 100, (0.55, 0.65), 1.01
    ),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


def tiny_model(seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model


def tiny_batch(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(64, 8, generator=generator)
    return Batch(inputs, inputs[:, :3].argmax(dim=1), step, epoch=step / 10)


def train(learner: Learner, steps: range) -> list[float]:
    return [learner.step(tiny_batch(step)).loss for step in steps]


def weights(learner: Learner) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in learner.resting_model().parameters()])


def bind(method: Method, seed: int = 0) -> Learner:
    return method.optimizer.bind(tiny_model(), cross_entropy, seed)


@every_method
def test_learns_a_tiny_problem(method: Method) -> None:
    losses = train(bind(method), range(method.steps))
    assert sum(losses[-10:]) / 10 < 0.6 * losses[0]


@every_method
def test_repeats_from_its_seed_bit_for_bit(method: Method) -> None:
    first, second = bind(method), bind(method)
    assert train(first, range(5)) == train(second, range(5))
    assert torch.equal(weights(first), weights(second))


@every_method
def test_resumes_as_if_it_had_not_stopped(method: Method) -> None:
    whole, part = bind(method), bind(method)
    train(whole, range(8))
    train(part, range(3))
    resumed = bind(method)
    resumed.load_state_dict(part.state_dict())
    train(resumed, range(3, 8))
    assert torch.equal(weights(whole), weights(resumed))


@every_method
def test_reports_the_passes_it_made(method: Method) -> None:
    calls = []

    def objective(model: nn.Module, batch: Batch) -> torch.Tensor:
        calls.append(torch.is_grad_enabled())
        return cross_entropy(model, batch)

    report = method.optimizer.bind(tiny_model(), objective, seed=0).step(tiny_batch(0))
    assert report.forward_passes == len(calls)
    assert report.backward_passes == sum(calls)


@every_method
def test_measured_peak_is_in_its_band_of_the_analytic_need(method: Method) -> None:
    model, inputs, labels = lenet5(10, seed=0), torch.zeros(32, 1, 28, 28), torch.zeros(32, dtype=torch.int64)
    analytic = method.optimizer.memory(layer_table(model, (1, 28, 28)), 32).total

    def two_steps() -> None:
        learner = method.optimizer.bind(model, cross_entropy, seed=0)
        for step in range(2):
            learner.step(Batch(inputs, labels, step, 0.0))

    def inference() -> None:
        with torch.no_grad():
            cross_entropy(model, Batch(inputs, labels, 0, 0.0))

    def peak(work: Callable[[], None]) -> int:
        return peak_live_bytes(work, resident=model.parameters(), uncounted=[inputs, labels])

    low, high = method.measured_over_analytic
    at_rest = peak(inference)
    measured = peak(two_steps)
    assert low <= measured / analytic <= high
    assert measured / at_rest <= method.measured_over_inference


@every_method
def test_leaves_no_gradients_behind(method: Method) -> None:
    learner = bind(method)
    train(learner, range(2))
    assert all(parameter.grad is None for parameter in learner.resting_model().parameters())
