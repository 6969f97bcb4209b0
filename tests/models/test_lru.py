"""A linear recurrent unit computes the system it says it is, takes another in its place, and any number of states."""

import copy
import math
from typing import Any

import pytest
import torch

from tightfit.memory.budget import MemoryBudget
from tightfit.memory.enforcement import Limit
from tightfit.memory.table import layer_table
from tightfit.models.adapters.lora import LoRA
from tightfit.models.lru import LRU, lru
from tightfit.numerics.balanced import System, balancing, truncated
from tightfit.optimizers.activations.checkpointed import Checkpointed
from tightfit.optimizers.base import Batch
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.forward_gradient import ForwardGradient
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.rules.adam import Adam
from tightfit.run.evaluate import cross_entropy
from tightfit.run.measurement import training_peak
from tightfit.run.rehearsal import batch_like, peak_live


def images(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def sequences(features: int = 5) -> torch.Tensor:
    return torch.randn(3, 12, features, generator=torch.Generator().manual_seed(1))


def unit(features: int = 5, states: int = 8) -> LRU:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LRU(features, states)


def outputs(system: System, inputs: torch.Tensor, D: torch.Tensor) -> torch.Tensor:
    """Re(C x) + D ⊙ u step by step, in double precision."""
    x, answers = torch.zeros(len(inputs), len(system.transition), dtype=torch.complex128), []
    for u in inputs.double().unbind(dim=1):
        x = system.transition * x + u.to(x.dtype) @ system.drive.T
        answers.append((x @ system.readout.T).real + D.double() * u)
    return torch.stack(answers, dim=1).float()


@torch.no_grad()
def test_a_unit_computes_the_system_that_it_says_it_is() -> None:
    torch.testing.assert_close(unit()(sequences()), outputs(unit().system(), sequences(), unit().D))


def test_a_fresh_unit_has_transitions_of_the_published_sizes_and_states_of_one_size() -> None:
    system = unit(features=16, states=4096).system()
    size = system.transition.abs()
    assert 0.9 <= size.min() <= size.max() <= 0.999
    assert size.square().mean() == pytest.approx((0.9**2 + 0.999**2) / 2, abs=0.01)
    # In the long run each state has the variance Σ|B|² / (1 − |λ|²) = Σ|B|² / γ²: 1 on average.
    variance = system.drive.abs().square().sum(dim=1) / (1 - size**2)
    assert variance.mean() == pytest.approx(1, abs=0.05)


@torch.no_grad()
def test_a_unit_that_takes_its_own_system_is_the_same_and_balanced_with_all_states_too() -> None:
    taken = unit()
    taken.take_(unit().system())
    torch.testing.assert_close(taken(sequences()), unit()(sequences()))
    system = unit().system()
    taken.take_(truncated(system, balancing(system), 8))
    torch.testing.assert_close(taken(sequences()), unit()(sequences()), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_fewer_states_are_other_parameters_of_smaller_shapes_that_train_on() -> None:
    taken = unit()
    before = taken.B
    system = truncated(taken.system(), balancing(taken.system()), 3)
    taken.take_(system)
    assert taken.B is not before
    assert {name: tuple(p.shape) for name, p in taken.named_parameters()} == {
        "nu": (3,),
        "theta": (3,),
        "B": (6, 5),
        "C": (5, 6),
        "D": (5,),
    }
    assert all(parameter.requires_grad for parameter in taken.parameters())
    torch.testing.assert_close(taken(sequences()), outputs(system, sequences(), taken.D), rtol=1e-4, atol=1e-5)


def test_real_vanishing_and_marginal_transitions_leave_finite_parameters() -> None:
    """The logarithm of a phase of 0, which others keep, would be −∞."""
    transition = torch.tensor([0.5, -0.5, 0.0, 1.0], dtype=torch.complex128)
    taken = unit(states=4)
    taken.take_(System(transition, torch.ones(4, 5, dtype=torch.complex128), torch.ones(5, 4, dtype=torch.complex128)))
    assert all(parameter.isfinite().all() for parameter in taken.parameters())
    torch.testing.assert_close(taken.system().transition, transition, rtol=0, atol=2e-6)
    assert (taken.system().transition.abs() < 1).all()
    assert taken(sequences()).isfinite().all()


def test_a_network_is_loaded_with_as_many_states_as_were_saved() -> None:
    small, large = lru(10, seed=0, states=6, layers=2), lru(10, seed=1, states=9, layers=2)
    small.layer2.lru.resize_(3)
    torch.nn.init.zeros_(small.layer2.lru.B)
    large.requires_grad_(False)
    large.load_state_dict(small.state_dict())
    assert [unit.states for unit in large.modules() if isinstance(unit, LRU)] == [6, 3]
    assert not any(parameter.requires_grad for parameter in large.parameters())
    for name, tensor in small.state_dict().items():
        assert torch.equal(tensor.nan_to_num(), large.state_dict()[name].nan_to_num())


def test_states_of_an_odd_shape_are_refused_and_not_taken_for_a_number_of_states() -> None:
    wrong = {**lru(10, seed=0).state_dict(), "layer1.lru.nu": torch.zeros(2, 2)}
    with pytest.raises(RuntimeError, match="size mismatch"):
        lru(10, seed=0).load_state_dict(wrong)


@pytest.mark.parametrize(("reading", "steps"), [("rows", 28), ("pooled", 49)])
def test_its_table_counts_what_the_paper_does(reading: str, steps: int) -> None:
    n, h, features = 64, 16, {"rows": 28, "pooled": 1}[reading]
    rows = {row.name: row for row in layer_table(lru(10, seed=0, reading=reading), (1, 28, 28)).rows}
    of_unit = [rows["layer1.lru.states"], rows["layer1.lru.outputs"]]
    assert sum(row.parameters for row in of_unit) == 2 * n + 4 * n * h + h
    assert rows["layer1.lru.states"].outputs * 4 == 8 * steps * n  # complex numbers
    assert rows["layer1.lru.outputs"].outputs == steps * h
    assert rows["encoder"].parameters == features * h + h
    assert sum(row.parameters for row in rows.values()) == (
        features * h + h + 2 * n + 4 * n * h + h + 2 * (h * h + h) + h * 10 + 10
    )
    assert ("read" in rows) == (reading == "pooled")  # rows are a view


def test_an_image_is_read_row_by_row_or_in_means_of_its_squares() -> None:
    assert torch.equal(lru(10, 0).read(images()), images()[:, 0])
    pooled = lru(10, 0, reading="pooled").read(images())
    assert pooled.shape == (4, 49, 1)
    torch.testing.assert_close(pooled[1, 8, 0], images()[1, 0, 4:8, 4:8].mean())


def test_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second, other = lru(10, seed=1), lru(10, seed=1), lru(10, seed=2)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.layer1.lru.B, other.layer1.lru.B)


METHODS: dict[str, Any] = {
    "bp_adam": Backprop(1e-3, Adam()),
    "bp_adam_checkpointed": Backprop(1e-3, Adam(), Checkpointed()),
    "mezo": MeZO(1e-4, 1e-3),
    "mezo_exact": MeZO(1e-4, 1e-3, restore="exact"),
    "elastic_zo": ElasticZO(1e-4, 1e-3, bp_lr=1e-2, bp_layers=2),
    "forward_gradient": ForwardGradient(1e-4),
}


@pytest.mark.parametrize("method", METHODS)
def test_what_is_rehearsed_is_what_steps_hold(method: str) -> None:
    model = lru(10, seed=0)
    batch = Batch(images(), torch.arange(4), 0, 0.0)
    rehearsed = peak_live(METHODS[method], model, batch_like(model, (1, 28, 28), 4), cross_entropy)
    no_limit = Limit(MemoryBudget("unlimited"), torch.device("cpu"))
    assert rehearsed == training_peak(METHODS[method], model, batch, 0, no_limit).tensors.bytes


def test_the_slope_along_a_direction_is_that_of_differences() -> None:
    model, batch = lru(10, seed=0), Batch(images(8), torch.arange(8), 0, 0.0)
    slopes = []
    for method in (ForwardGradient(0.0), MeZO(0.0, 1e-3)):
        report = method.bind(copy.deepcopy(model), cross_entropy, 0).step(batch).read()
        slopes.append(report.scalars["slope"])
    assert slopes[0] == pytest.approx(slopes[1], rel=0.02, abs=0.02)


def test_adapters_go_into_its_linear_layers_and_freeze_its_units() -> None:
    model = lru(10, seed=0)
    LoRA(2, 4).inject(model, 0)
    rows = [row for row in layer_table(model, (1, 28, 28)).rows if row.kind == "LRU"]
    assert [row.trained_elements for row in rows] == [0, 0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"states": 0}, "model.states=0 is no number of states; choose 1 or more"),
        ({"layers": 0}, "model.layers=0 is no number of layers; choose 1 or more"),
        ({"reading": "columns"}, "model.reading=columns is no way to read an image; choose rows or pooled"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        lru(10, 0, **wrong)


def test_phases_are_around_the_whole_circle() -> None:
    theta = unit(states=4096).theta
    assert 0 <= theta.min() < 0.1
    assert 2 * math.pi - 0.1 < theta.max() <= 2 * math.pi
