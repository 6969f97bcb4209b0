"""What any zeroth-order method must do, and broken twins that must not pass.

A row of METHODS joins a method. Each twin has a fault that published codes had; the check that names it must fail.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from tightfit.numerics.noise import counter_noise, streams
from tightfit.numerics.noise.counter_noise import TABLES
from tightfit.numerics.noise.perturbation import NOISES
from tightfit.numerics.noise.probes import InPlace
from tightfit.optimizers.base import Batch, Learner, Objective, Optimizer
from tightfit.optimizers.descents.adam import Adam
from tightfit.optimizers.descents.momentum import Momentum
from tightfit.optimizers.descents.sign import Sign, SlopeSign
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.directions.low_rank import LowRank
from tightfit.optimizers.directions.sparse import Sparse
from tightfit.optimizers.directions.subspace import Subspace
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.hizoo import HiZOO
from tightfit.optimizers.lozo_m import LOZOM
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.mezo_svrg import MeZOSVRG
from tightfit.optimizers.one_sided import OneSided
from tightfit.optimizers.seed_pool import SeedPool
from tightfit.optimizers.zo_adamu import ZOAdaMU

# 0-d, rows of no multiple of 16, single numbers, more than 100,000: where public codes drew another direction.
SHAPES = [(), (1,), (1, 1, 10), (3, 37), (5, 2, 3, 3), (17,), (211, 173), (100_003,)]
MANY = 20_000  # steps, whose directions may not repeat: these do not depend on the type of the weights
FEWER = 2_500  # by which weights of 16 bits would have drifted, and the broken twins do
SHARED_OUT = 300_001  # elements that threads share out
DIRECTIONS = {"sparse_mezo": Sparse(0.5), "lozo": LowRank(2, 10), "subzero": Subspace(2, 10), "rank_one": LowRank(1, 1)}


class Held(nn.Module):
    """Answers with its weights, as they are while it runs."""

    def __init__(self, weights: nn.Parameter) -> None:
        super().__init__()
        self.weight = weights

    def forward(self) -> torch.Tensor:
        return self.weight.flatten().float()


class Model(nn.Module):
    """Answers with all its weights; the last two modules are tied."""

    def __init__(self, shapes: list[tuple[int, ...]], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        parameters = [nn.Parameter((0.02 * torch.randn(shape, generator=generator)).to(dtype)) for shape in shapes]
        self.held = nn.ModuleList([Held(parameter) for parameter in [*parameters, parameters[-1]]])

    def forward(self) -> torch.Tensor:
        return torch.cat([held() for held in self.held])


@dataclass(frozen=True)
class Twin:
    """A method with a fault put into its learner."""

    optimizer: MeZO
    spoil: Callable[[Any], None]

    def bind(self, model: nn.Module, objective: Objective, seed: int) -> Learner:
        learner = self.optimizer.bind(model, objective, seed)
        self.spoil(learner)
        return learner


def methods(restore: str, lr: float = 0.5, eps: float = 0.25) -> dict[str, Optimizer]:
    built: dict[str, Optimizer] = {}
    for noise in NOISES:
        built[f"mezo_{noise}"] = MeZO(lr, eps, restore=restore, direction=Independent(noise))
        built[f"elastic_zo_{noise}"] = ElasticZO(
            lr, eps, bp_lr=0.0, bp_layers=0, restore=restore, direction=Independent(noise)
        )
        built[f"pool_{noise}"] = SeedPool(lr, eps, pool=10_000, restore=restore, direction=Independent(noise))
        built[f"svrg_{noise}"] = MeZOSVRG(
            lr, eps, anchor_lr=lr, period=3, restore=restore, direction=Independent(noise)
        )
        if noise in TABLES:
            built[f"hizoo_{noise}"] = HiZOO(lr, eps, alpha=1e-6, restore=restore, direction=Independent(noise))
    for name, direction in DIRECTIONS.items():
        built[name] = MeZO(lr, eps, restore=restore, direction=direction)
    built["lozo_m_first_step"] = LOZOM(lr, eps, restore=restore, direction=DIRECTIONS["lozo"], beta=0.0)
    return built


METHODS = {f"{name}_{restore}": m for restore in ("merged", "exact") for name, m in methods(restore).items()}
EXACT_AT_REST = methods("exact", lr=0.0)
# A first step of each moves along its one direction, of a single length in all numbers.
DESCENTS = {
    "sign": Sign(),
    "slope_sign": SlopeSign(),
    "momentum": Momentum(),
    "adam": Adam(),
    "adamm": Adam(largest=True, correct=False),
}
DESCENDING = {
    f"{name}_{restore}": MeZO(0.5, 0.25, restore=restore, descent=descent, direction=Independent("rademacher"))
    for restore in ("merged", "exact")
    for name, descent in DESCENTS.items()
}
DESCENDING |= {
    f"adamu_{restore}": ZOAdaMU(0.5, 0.25, restore=restore, direction=Independent("rademacher"), epochs=1.0)
    for restore in ("merged", "exact")
}
ONE_SIDED = {f"one_sided_{restore}": OneSided(0.5, 0.25, restore=restore) for restore in ("merged", "exact")}


def batch(step: int) -> Batch:
    return Batch(torch.empty(0), torch.empty(0), step, 0.0)


def at_rest(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model().clone()


def check_direction_probed_is_direction_applied(
    method: Any, dtype: torch.dtype = torch.float32, shapes: list[tuple[int, ...]] = SHAPES
) -> None:
    model, probed = Model(shapes, dtype), []
    target = torch.randn(model().shape, generator=torch.Generator().manual_seed(1))

    def objective(model: Any, _: Batch) -> torch.Tensor:
        probed.append(model().detach().clone())
        return probed[-1] @ target / 1000

    learner, before = method.bind(model, objective, seed=0), at_rest(model)
    learner.step(batch(3))
    learner.resting_model()
    sizes = [held.weight.numel() for held in model.held]
    probe, change = (probed[0] - probed[1]).double(), (at_rest(model) - before).double()
    factor = probe @ change / (probe @ probe)  # the same for all tensors
    for probe_of_one, change_of_one in zip(probe.split(sizes), change.split(sizes), strict=True):
        assert change_of_one.norm() > 0
        assert (change_of_one - factor * probe_of_one).norm() < 1e-5 * change_of_one.norm()


def check_many_steps_repeat_nothing_and_change_nothing(
    method: Any, dtype: torch.dtype = torch.float32, steps: int = FEWER
) -> None:
    """With a learning rate of 0."""
    model, seen = Model([(1, 67), (3,)], dtype), set()

    def objective(model: Any, _: Batch) -> torch.Tensor:
        seen.add(model().detach().numpy().tobytes())
        return torch.zeros(())

    learner, before = method.bind(model, objective, seed=0), [p.clone() for p in model.parameters()]
    for step in range(steps):
        learner.step(batch(step))
    assert len(seen) == 2 * steps
    bits = torch.int32 if dtype == torch.float32 else torch.int16
    assert all(torch.equal(p.view(bits), b.view(bits)) for p, b in zip(model.parameters(), before, strict=True))


def check_unbiased_on_a_quadratic(method: Any, moving: slice = slice(None)) -> None:
    """For the loss w·w/2 the mean update over many steps is −lr × the gradient w, where weights are `moving`."""
    model, count, lr = Model([(10,)]), 2000, method.lr if hasattr(method, "lr") else method.optimizer.lr
    weight = model.held[0].weight
    weight.data = torch.linspace(-1, 1, 10)
    learner = method.bind(model, lambda m, _: (m()[:10] ** 2).sum() / 2, seed=0)
    start, gradient, total = weight.detach().clone(), torch.zeros(10), torch.zeros(10)
    gradient[moving] = start[moving]
    for step in range(count):
        learner.step(batch(step))
        learner.resting_model()
        total += (start - weight.detach()) / (lr * count)
        weight.data.copy_(start)
    assert torch.cosine_similarity(total, gradient, dim=0) > 0.99  # its standard error is sqrt(10 / 2000) / 2 in angle
    assert total.norm() / gradient.norm() == pytest.approx(1.0, abs=0.15)  # five times sqrt(2 / 2000)


def losses_and_slopes(method: Any, threads: int = 1, size: int = SHARED_OUT) -> list[tuple[float, float | None]]:
    """The slopes of a method that reports them."""

    def objective(model: Any, _: Batch) -> torch.Tensor:
        weights = model()
        return (weights[:500] - 0.1).square().sum() + (weights[-500:] - 0.1).square().sum()

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        learner = method.bind(Model([(3, 37), (size,)]), objective, seed=0)
        reports = [learner.step(batch(step)) for step in range(3)]
    finally:
        torch.set_num_threads(before)
    return [(report.loss, report.scalars.get("slope")) for report in reports]


def check_threads_change_nothing(method: Any, size: int = SHARED_OUT) -> None:
    """size: elements of the larger tensor; fewer suit a slow method, if it shares them out all the same."""
    first, *others = (losses_and_slopes(method, threads, size) for threads in (1, 2, 3))
    assert all(other == first for other in others)


def every(rows: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("method", rows.values(), ids=rows.keys())


@every({**METHODS, **DESCENDING, **ONE_SIDED})
def test_direction_probed_is_direction_applied(method: Optimizer) -> None:
    check_direction_probed_is_direction_applied(method)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@every({name: method for name, method in EXACT_AT_REST.items() if name.startswith("mezo")})
def test_many_steps_repeat_no_direction_and_leave_no_trace(method: Optimizer, dtype: torch.dtype) -> None:
    steps = MANY if dtype == torch.float32 else FEWER
    check_many_steps_repeat_nothing_and_change_nothing(method, dtype, steps)


@every({**METHODS, **ONE_SIDED})
def test_estimate_is_unbiased_on_a_quadratic(method: Any) -> None:
    half_of_them = slice(2, 8)  # magnitudes of −1 … 1 come in pairs, so three pairs make half and more
    check_unbiased_on_a_quadratic(method, half_of_them if isinstance(method.direction, Sparse) else slice(None))


@every({**METHODS, **DESCENDING, **ONE_SIDED})
def test_threads_change_nothing(method: Optimizer) -> None:
    check_threads_change_nothing(method)


@every({name: method for name, method in METHODS.items() if "torch_gaussian" not in name})
def test_pieces_change_nothing(method: Optimizer, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = losses_and_slopes(method)
    monkeypatch.setattr(streams, "has_numba", lambda: False)  # whose pieces are fixed
    monkeypatch.setattr(counter_noise, "BLOCK_OF_FEW", 15360)
    assert losses_and_slopes(method) == usual


def updates_along_another_step(learner: Any) -> None:
    update = learner._probe.update_
    learner._probe.update_ = lambda lr, slope, step, query: update(lr, slope, step + 1, query)


def updates_with_other_pieces(learner: Any) -> None:
    """One draw over all weights instead of one for each tensor: it agrees nowhere but at the beginning."""

    def update(lr: float, slope: float, step: int, query: int) -> None:
        weights = [parameter.data for parameter in learner.resting_model().parameters()]
        z = torch.randn(sum(w.numel() for w in weights), generator=torch.Generator().manual_seed(step))
        for part, w in zip(z.split([w.numel() for w in weights]), weights, strict=True):
            w.add_(part.view(w.shape), alpha=-lr * slope)

    learner._probe.update_ = update


def skips_what_is_small(learner: Any) -> None:
    for parameter in [p for p in learner.resting_model().parameters() if p.dim() == 0]:
        learner._probe._at_rest.pop(parameter)
        learner._probe._modules = [
            (m, own) for m, own in learner._probe._modules if all(p is not parameter for p in own)
        ]


def repeats_after_a_thousand(learner: Any) -> None:
    step = learner.step
    learner.step = lambda given: step(batch(given.step % 1000))


def restores_by_adding_back(learner: Any) -> None:
    learner._probe = InPlace(learner._probe._perturbation)


def forgets_the_slope(learner: Any) -> None:
    update = learner._probe.update_
    learner._probe.update_ = lambda lr, slope, step, query: update(lr, math.copysign(1.0, slope), step, query)


def draws_by_thread(learner: Any) -> None:
    at = learner._probe.at
    learner._probe.at = lambda scale, step, query, **known: at(scale, step + torch.get_num_threads(), query, **known)


EXACT = MeZO(0.5, 0.25, restore="exact", direction=Independent("rademacher"))


@pytest.mark.parametrize("fault", [updates_along_another_step, updates_with_other_pieces, skips_what_is_small])
def test_a_step_along_a_direction_that_was_not_probed_is_found(fault: Callable[[Any], None]) -> None:
    with pytest.raises(AssertionError):
        check_direction_probed_is_direction_applied(Twin(EXACT, fault))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "dtype"),
    [
        (repeats_after_a_thousand, torch.float32),
        (restores_by_adding_back, torch.float32),
        (restores_by_adding_back, torch.bfloat16),
    ],
)
def test_repeated_directions_and_drift_are_found(fault: Callable[[Any], None], dtype: torch.dtype) -> None:
    at_rest = MeZO(0.0, 0.25, restore="exact", direction=Independent("rademacher"))
    with pytest.raises(AssertionError):
        check_many_steps_repeat_nothing_and_change_nothing(Twin(at_rest, fault), dtype)


def test_an_estimate_without_its_slope_is_found() -> None:
    with pytest.raises(AssertionError):
        check_unbiased_on_a_quadratic(Twin(EXACT, forgets_the_slope))


def test_noise_that_depends_on_threads_is_found() -> None:
    with pytest.raises(AssertionError):
        check_threads_change_nothing(Twin(EXACT, draws_by_thread))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("noise", NOISES)
def test_updates_too_small_for_16_bits_are_kept_on_average(dtype: torch.dtype, noise: str) -> None:
    """Each step moves each weight by about a tenth of the distance to the next number. float32 keeps all of them."""
    unit, changes = torch.finfo(dtype).eps, []
    for kind in (torch.float32, dtype):
        model = Model([(4000,)], kind)
        nn.init.constant_(model.held[0].weight, 1.5)
        losses = map(torch.tensor, [0.05 * unit, 0.0] * 200)  # slopes of unit / 10 with eps = 0.25
        learner = MeZO(1.0, 0.25, restore="exact", direction=Independent(noise)).bind(
            model, lambda m, _, of=losses: 0 * m().sum() + next(of), seed=0
        )
        for step in range(200):
            learner.step(batch(step))
        changes.append((at_rest(model)[:4000].double() - 1.5) / unit)
    exact, rounded = changes
    assert rounded.square().mean() < 25  # 200 roundings up with a chance of a tenth: a variance of 18
    # The standard error is that of a random walk of 4 units among 4,000 weights: 4 / 1.4 / 63 = 0.05.
    assert exact @ rounded / (exact @ exact) == pytest.approx(1.0, abs=0.2)
