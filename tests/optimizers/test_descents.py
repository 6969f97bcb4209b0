"""How slopes become a step: each descent beside a slow twin that holds everything, and where it meets another."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from tightfit.memory.cost import Cost
from tightfit.memory.measured import peak_live_bytes
from tightfit.memory.table import layer_table
from tightfit.models.lenet5 import lenet5
from tightfit.numerics.noise.counter_noise import TABLES
from tightfit.numerics.noise.perturbation import Noise, Perturbation
from tightfit.optimizers.base import Batch
from tightfit.optimizers.captured import obstacle_to_capture
from tightfit.optimizers.descents.adam import Adam
from tightfit.optimizers.descents.descent import Descent
from tightfit.optimizers.descents.momentum import Momentum
from tightfit.optimizers.descents.normalised import Normalised
from tightfit.optimizers.descents.plain import Plain
from tightfit.optimizers.descents.sign import Sign, SlopeSign
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.directions.torch_legacy import TorchLegacy
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.one_sided import OneSided
from tightfit.optimizers.schedules import Power
from tightfit.run.evaluate import cross_entropy
from tightfit.run.rehearsal import peak_live

from .test_contract import tiny_batch, tiny_int8_model, tiny_model, train, weights

# A power of two, by which products are scaled without rounding: where two routes multiply in another order, bits agree.
LR = 2.0**-7
STEPS = 6


def trained(method: MeZO, steps: int = STEPS, model: Callable[[], nn.Module] = tiny_model) -> torch.Tensor:
    learner = method.bind(model(), cross_entropy, seed=0)
    train(learner, range(steps))
    return weights(learner)


def exact(descent: Descent | None = None, **settings: Any) -> MeZO:
    own = {"descent": descent} if descent else {}
    return MeZO(settings.pop("lr", LR), 1e-3, restore="exact", **own, **settings)


class Recorded:
    """The estimates, weights and slopes of a method's steps, all held."""

    def __init__(self, method: MeZO, steps: int = STEPS) -> None:
        self.slopes: list[list[float]] = []
        model = tiny_model()
        learner: Any = method.bind(model, cross_entropy, seed=0)
        step_ = learner._descender.step_
        learner._descender.step_ = lambda probe, lr, slopes, step: (
            self.slopes.append(list(slopes)),
            step_(probe, lr, slopes, step),
        )
        train(learner, range(steps))
        self.weights = weights(learner)
        self.estimates = [self._estimate(method, step) for step in range(steps)]

    def directions(self, method: MeZO, step: int) -> list[torch.Tensor]:
        """Each direction of the step as one long tensor."""
        drawn = []
        for query in range(method.queries):
            zeros = [(name, nn.Parameter(torch.zeros_like(p))) for name, p in tiny_model().named_parameters()]
            Perturbation(zeros, seed=0, queries=method.queries).add_(1.0, step, query)
            drawn.append(torch.cat([zero.data.flatten() for _, zero in zeros]))
        return drawn

    def _estimate(self, method: MeZO, step: int) -> torch.Tensor:
        slopes = self.slopes[step]
        directions = self.directions(method, step)[: len(slopes)]
        return sum(s * z for s, z in zip(slopes, directions, strict=True)) / len(slopes)


def start() -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in tiny_model().parameters()])


def by_torch(optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer], recorded: Recorded) -> torch.Tensor:
    """The weights after the recorded estimates were given to an optimizer of PyTorch as gradients."""
    parameter = nn.Parameter(start())
    stepper = optimizer([parameter])
    for estimate in recorded.estimates:
        parameter.grad = estimate
        stepper.step()
    return parameter.detach()


@pytest.mark.parametrize("noise", TABLES)
def test_no_momentum_is_mezo_bit_for_bit(noise: Noise) -> None:
    direction = Independent(noise)
    assert torch.equal(trained(exact(Momentum(0.0), direction=direction)), trained(exact(direction=direction)))


@pytest.mark.parametrize("restore", ["merged", "exact"])
@pytest.mark.parametrize("queries", [1, 3])
def test_momentum_is_that_of_pytorch_with_the_estimate_as_gradient(queries: int, restore: Any) -> None:
    recorded = Recorded(MeZO(LR, 1e-3, queries=queries, restore=restore, descent=Momentum(0.9)))
    twin = by_torch(lambda parameters: torch.optim.SGD(parameters, LR, momentum=0.9), recorded)
    torch.testing.assert_close(recorded.weights, twin, rtol=1e-5, atol=1e-5)
    assert (twin - start()).norm() > 0.1  # the steps are far longer than that


SIGNS = Independent("rademacher")
TINY = 1e-30


def test_both_signs_are_one_where_a_step_has_one_direction_of_signs() -> None:
    both = [trained(exact(descent, direction=SIGNS, lr=3e-3)) for descent in (Sign(), SlopeSign())]
    assert torch.equal(*both)


def test_signs_of_slopes_are_mezo_with_slopes_at_a_small_bound() -> None:
    bound = 2.0**-30  # below which no slope is
    assert torch.equal(trained(exact(SlopeSign())), trained(exact(lr=LR / bound, clip=bound)))


def test_signs_are_those_of_the_whole_estimate() -> None:
    recorded = Recorded(exact(Sign(), queries=3), steps=1)
    assert torch.equal(recorded.weights, start() - LR * recorded.estimates[0].sign())


@pytest.mark.parametrize(("slope", "sign_of_it"), [(2.5, 1.0), (-0.1, -1.0), (0.0, 0.0)])
def test_a_slope_of_zero_has_no_sign(slope: float, sign_of_it: float) -> None:
    assert SlopeSign().coefficients([slope]) == [sign_of_it]


def test_adam_without_memory_is_the_sign_of_the_estimate() -> None:
    without = Adam(beta1=0.0, beta2=0.0, eps=TINY)
    torch.testing.assert_close(
        trained(exact(without, queries=2)), trained(exact(Sign(), queries=2)), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("restore", ["merged", "exact"])
@pytest.mark.parametrize(("queries", "largest"), [(1, False), (3, False), (3, True)])
def test_adam_is_that_of_pytorch_with_the_estimate_as_gradient(queries: int, largest: bool, restore: Any) -> None:
    descent = Adam(0.8, 0.9, largest=largest)
    recorded = Recorded(MeZO(LR, 1e-3, queries=queries, restore=restore, descent=descent))
    twin = by_torch(lambda p: torch.optim.Adam(p, LR, (0.8, 0.9), amsgrad=largest), recorded)
    torch.testing.assert_close(recorded.weights, twin, rtol=1e-5, atol=1e-5)
    assert (twin - start()).norm() > 0.1


def test_adamm_is_its_formula() -> None:
    """Slow twin in float64: the largest second mean, and no correction for the start at 0."""
    recorded = Recorded(exact(Adam(0.8, 0.5, largest=True, correct=False), queries=2))
    position, mean, square, largest = start().double(), 0.0, 0.0, torch.zeros(len(start()), dtype=torch.float64)
    for estimate in map(torch.Tensor.double, recorded.estimates):
        mean, square = 0.8 * mean + 0.2 * estimate, 0.5 * square + 0.5 * estimate**2
        largest = torch.maximum(largest, square)
        position -= LR * mean / (largest.sqrt() + 1e-8)
    torch.testing.assert_close(recorded.weights.double(), position, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("noise", ["gaussian", "torch_gaussian"])
@pytest.mark.parametrize(("descent", "lr"), [(Sign(), 5e-4), (Momentum(), 0.1), (Adam(), 5e-4)])
def test_changes_too_small_for_16_bits_are_kept_on_average(descent: Descent, lr: float, noise: Noise) -> None:
    """Steps are far below the distance from one number to the next, by slopes at their bound of 1/1000."""
    moved = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = nn.Sequential(nn.Linear(40, 100, bias=False)).to(dtype)
        nn.init.constant_(model[0].weight, 1.5)
        method = MeZO(lr, 0.25, queries=2, restore="exact", descent=descent, direction=Independent(noise), clip=1e-3)
        learner = method.bind(model, lambda m, _: m(torch.ones(1, 40).to(m[0].weight)).float().sum(), seed=0)
        train(learner, range(20))
        moved[dtype] = weights(learner).float() - 1.5
    exactly, rounded = moved[torch.float32], moved[torch.bfloat16]
    # From one number to the next it is 2**-7, and a step is about 1/16 of that. Rounded by chance, a weight is after 20
    # steps some 1.1 of it from where it should be, which moved by some 0.3: of 4,000 weights an error of 0.06.
    assert exactly @ rounded / (exactly @ exactly) == pytest.approx(1.0, abs=0.25)


def test_a_tensor_of_many_pieces_is_rehearsed_as_it_is_measured() -> None:
    """A rehearsal goes through three of them."""
    model = nn.Sequential(nn.Linear(1200, 1000))
    given = Batch(torch.randn(2, 1200), torch.zeros(2, dtype=torch.int64), 0, 0.0)
    method = MeZO(1e-3, 1e-3, queries=2, descent=Adam())
    rehearsed = peak_live(method, copy.deepcopy(model), given, cross_entropy)

    def two_steps() -> None:
        learner = method.bind(model, cross_entropy, 0)
        for step in range(2):
            learner.step(replace(given, step=step))

    measured = peak_live_bytes(two_steps, model.parameters(), uncounted=(given.inputs, given.labels))
    assert rehearsed == measured
    assert measured < 3.1 * sum(parameter.nbytes for parameter in model.parameters())


FZOO = OneSided(0.02, 1e-4, queries=8, direction=SIGNS, descent=Normalised())


def test_the_rate_of_a_normalised_step_is_a_length_whatever_the_unit_of_the_loss() -> None:
    def after(unit: float) -> torch.Tensor:
        learner = FZOO.bind(tiny_model(), lambda model, batch: unit * cross_entropy(model, batch), seed=0)
        train(learner, range(STEPS))
        return weights(learner)

    assert torch.equal(after(1.0), after(1024.0))


def test_normalised_slopes_are_losses_over_their_deviation_as_fzoo_divides() -> None:
    losses, at_rest, eps = torch.tensor([2.3, 2.1, 2.2, 2.7], dtype=torch.float64), 2.2, 1e-3
    of_losses = (losses - at_rest) / losses.std(correction=0)
    of_slopes = Normalised().coefficients(((losses - at_rest) / eps).tolist())
    torch.testing.assert_close(torch.tensor(of_slopes, dtype=torch.float64), of_losses)


def test_slopes_that_are_all_the_same_make_no_step() -> None:
    method = replace(FZOO, restore="exact")
    learner = method.bind(tiny_model(), lambda model, _: torch.ones(()) + 0 * model(torch.ones(1, 8)).sum(), seed=0)
    learner.step(tiny_batch(0))
    assert torch.equal(weights(learner), start())


def test_one_sided_slopes_are_those_between_rest_and_one_end() -> None:
    """Slow twin: weights copied, directions held."""
    method = OneSided(0.05, 1e-2, queries=3)
    model, twin, batch = tiny_model(), tiny_model(), tiny_batch(0)
    report = method.bind(model, cross_entropy, seed=0).step(batch)
    directions = Recorded(method, steps=1).directions(method, 0)
    at_rest, losses, total = cross_entropy(twin, batch).item(), [], torch.zeros_like(start())
    for direction in directions:
        nn.utils.vector_to_parameters(start() + 1e-2 * direction, twin.parameters())
        losses.append(cross_entropy(twin, batch).item())
        total += (losses[-1] - at_rest) / 1e-2 * direction / 3
    assert report.scalars["slope"] == pytest.approx((losses[-1] - at_rest) / 1e-2, rel=1e-3)
    assert report.loss == pytest.approx((at_rest + sum(losses)) / 4, rel=1e-6)
    moved = trained(method, steps=1) - start()
    torch.testing.assert_close(moved, -0.05 * total, rtol=1e-3, atol=1e-5)


def test_a_loss_that_is_not_finite_at_one_probe_is_not_hidden() -> None:
    losses = iter([1.0, 1.0, math.inf] + [1.0] * 6)
    learner = FZOO.bind(tiny_model(), lambda *_: torch.tensor(next(losses)), seed=0)
    assert not math.isfinite(learner.step(tiny_batch(0)).loss)


@pytest.mark.parametrize(
    ("descent", "state", "sweeps"),
    [
        (Plain(), 0, {"merged": 6, "exact": 9}),
        (SlopeSign(), 0, {"merged": 6, "exact": 9}),
        (Sign(), 0, {"merged": 10, "exact": 9}),
        (Momentum(), 1, {"merged": 11, "exact": 10}),
        (Adam(), 2, {"merged": 12, "exact": 11}),
        (Adam(largest=True), 3, {"merged": 13, "exact": 12}),
    ],
)
def test_state_and_sweeps_are_planned_for(descent: Descent, state: int, sweeps: dict[Any, int]) -> None:
    table = layer_table(lenet5(10, 0), (1, 28, 28))
    plain = MeZO(1e-3, 1e-3).memory(table, 8)
    for restore, count in sweeps.items():
        method = MeZO(1e-3, 1e-3, queries=3, restore=restore, descent=descent)
        assert method.cost(table, 8) == Cost(forward=6, sweeps=count)
        assert method.memory(table, 8).optimizer_state == state * plain.parameters


def test_one_sided_passes_and_sweeps_are_planned_for() -> None:
    table = layer_table(lenet5(10, 0), (1, 28, 28))
    for restore, sweeps in (("merged", 9), ("exact", 16)):
        method = replace(FZOO, restore=restore)
        assert method.cost(table, 8) == Cost(forward=9, sweeps=sweeps)
    assert FZOO.memory(table, 8) == MeZO(1e-3, 1e-3).memory(table, 8)


GROWING = Power(2.0, 1.0)  # 1 for the first ten steps of the tiny problem, a tenth of an epoch each, then 2 for five, 3


@pytest.mark.parametrize("method", [MeZO, OneSided])
def test_directions_that_become_more_are_never_repeated(method: type[MeZO]) -> None:
    model, seen = tiny_model(), []
    model[0].register_forward_hook(lambda module, *_: seen.append(module.weight.detach().numpy().tobytes()))
    learner = method(0.0, 0.25, queries=3, growth=GROWING, restore="exact").bind(model, cross_entropy, seed=0)
    passes = [learner.step(tiny_batch(step)).forward_passes for step in range(20)]
    directions = [1] * 10 + [2] * 5 + [3] * 5
    if method is MeZO:
        assert passes == [2 * count for count in directions]
        assert len(set(seen)) == len(seen)
    else:
        assert passes == [1 + count for count in directions]
        assert len(set(seen)) == 1 + sum(directions)  # at rest it is the same weights


@pytest.mark.parametrize("descent", [Plain(), Momentum()])
@pytest.mark.parametrize("restore", ["merged", "exact"])
def test_a_step_of_fewer_directions_takes_their_mean(descent: Descent, restore: Any) -> None:
    method = MeZO(LR, 1e-3, queries=3, growth=Power(2.0, 0.0), restore=restore, descent=descent)
    recorded = Recorded(method, steps=1)
    (first, second, _), ((of_first, of_second),) = recorded.directions(method, 0), recorded.slopes
    mean = (of_first * first + of_second * second) / 2
    torch.testing.assert_close(recorded.weights, start() - LR * mean, rtol=1e-5, atol=1e-5)


def test_directions_that_are_as_many_as_there_are_room_for_are_those_of_mezo_bit_for_bit() -> None:
    plain = MeZO(0.01, 1e-3, queries=3)
    assert torch.equal(trained(replace(plain, growth=Power(7.0, 0.0))), trained(plain))


def test_steps_whose_directions_become_more_are_not_captured() -> None:
    learner = MeZO(LR, 1e-3, queries=3, growth=GROWING).bind(tiny_model(), cross_entropy, seed=0)
    assert obstacle_to_capture(learner) == "such steps have as many directions all along"


@pytest.mark.parametrize("descent", [Sign(), SlopeSign(), Momentum(), Adam()])
def test_steps_of_other_descents_are_not_captured(descent: Descent) -> None:
    learner = MeZO(LR, 1e-3, descent=descent).bind(tiny_model(), cross_entropy, seed=0)
    assert "descent=plain" in obstacle_to_capture(learner)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Momentum(1.0), r"descent.beta=1.0 is not from 0 to less than 1"),
        (lambda: Adam(beta2=-0.1), r"descent.beta2=-0.1 is not from 0 to less than 1"),
        (lambda: Adam(eps=0.0), r"descent.eps=0.0 is not more than 0"),
        (
            lambda: MeZO(1e-3, 1e-3, descent=Normalised()),
            "queries=1 but descent=normalised .* choose queries=2",
        ),
        (lambda: OneSided(1e-3, 1e-3, direction=TorchLegacy()), "direction=torch_legacy replays a code .* two-sided"),
        (
            lambda: OneSided(1e-3, 1e-3).bind(tiny_int8_model(), cross_entropy, 0),
            "optimizer=one_sided trains floating point",
        ),
        (
            lambda: MeZO(1e-3, 1e-3, direction=TorchLegacy(), descent=Momentum()),
            "descent=momentum needs each number of a direction by itself, and direction=torch_legacy",
        ),
    ],
)
def test_impossible_settings_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
