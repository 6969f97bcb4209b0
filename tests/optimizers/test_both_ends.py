"""Both ends of a direction by one pass over the batch twice: the losses, and the step, of weights that are moved."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.synthetic import adapted
from tightfit.models.adapters.lora import LoRA
from tightfit.models.hf_causal_lm import random_causal_lm
from tightfit.models.hf_tokenizer import HashedWords
from tightfit.models.lenet5 import lenet5
from tightfit.models.pointnet import pointnet
from tightfit.models.widening import widen_
from tightfit.optimizers.base import Batch
from tightfit.optimizers.directions.low_rank import LowRank
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.mezo import MeZO
from tightfit.run.evaluate import cross_entropy

from .axes import INPUTS, tiny_llama, tiny_mlp


def tiny_gpt2() -> nn.Module:
    """Its embedding is tied to its head, its positions are shared by all examples, its matrices lie the other way."""
    settings = {"vocab_size": 32, "n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2}
    return random_causal_lm("gpt2", settings, HashedWords(32), (5, 7, 9), classes=3, seed=0)


def wide_llama() -> nn.Module:
    model = tiny_llama().to(torch.bfloat16)
    widen_(model)
    return model


class Convolutions(nn.Sequential):
    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(1, 4, 5, stride=3, padding=1, padding_mode="reflect"),
            nn.GroupNorm(2, 4),
            nn.Conv2d(4, 8, 3, groups=2),
            nn.Flatten(2),
            nn.Conv1d(8, 3, 1, bias=False),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
        )


MODELS: dict[str, tuple[Callable[[], nn.Module], torch.Tensor]] = {
    "mlp": (tiny_mlp, INPUTS["mlp"]),
    "lenet5": (lambda: lenet5(10, 0), INPUTS["lenet5"]),
    "convolutions": (Convolutions, INPUTS["lenet5"]),
    "llama": (tiny_llama, INPUTS["llama"]),
    "llama_lora": (lambda: adapted(tiny_llama(), LoRA(2, 4)), INPUTS["llama"]),
    "gpt2": (tiny_gpt2, INPUTS["llama"]),
}
of_every_model = pytest.mark.parametrize(("make", "inputs"), MODELS.values(), ids=MODELS.keys())
BOTH = LowRank(1, 1, "activations")


def method(direction: LowRank, restore: str = "exact", **settings: Any) -> MeZO:
    return MeZO(1e-2, 1e-2, restore=restore, direction=direction, **settings)


def given(inputs: torch.Tensor, step: int = 0) -> Batch:
    return Batch(inputs, torch.arange(len(inputs)) % 3, step, 0.0)


def logits_at(ends: tuple[float, ...], model: nn.Module, inputs: torch.Tensor, direction: LowRank) -> torch.Tensor:
    learner = method(direction).bind(model.eval(), cross_entropy, seed=0)
    probe, ats = learner._probe, []
    with torch.no_grad():
        for scale in ends:
            with probe.at(scale, 3, 0):
                ats.append(model(inputs))
    return torch.cat(ats)


@of_every_model
@pytest.mark.parametrize("rank", [1, 3])
def test_the_halves_of_a_pass_are_the_passes_at_moved_weights(
    rank: int, make: Callable[[], nn.Module], inputs: torch.Tensor
) -> None:
    scale, model = 0.05, make()
    moved = logits_at((scale, -scale), make(), inputs, LowRank(rank, 1))
    probe = method(LowRank(rank, 1, "activations")).bind(model, cross_entropy, seed=0)._probe
    with torch.no_grad(), probe.both(scale, 3, 0):
        together = model(inputs.repeat(2, *[1] * (inputs.dim() - 1)))
    assert torch.allclose(together, moved, atol=1e-5 * moved.abs().max())  # sums of hundreds of numbers, in float32
    plus, minus = moved.chunk(2)
    assert (plus - minus).abs().max() > 1e-3 * moved.abs().max()


def test_weights_of_16_bits_that_are_multiplied_in_float32_serve_too() -> None:
    """A moved copy is rounded to 16 bits and moved outputs are not: they agree as far as that."""
    scale, model = 0.05, wide_llama()
    moved = logits_at((scale, -scale), wide_llama(), INPUTS["llama"], LowRank(1, 1))
    probe = method(BOTH).bind(model, cross_entropy, seed=0)._probe
    with torch.no_grad(), probe.both(scale, 3, 0):
        together = model(INPUTS["llama"].repeat(2, 1))
    assert torch.allclose(together, moved, atol=0.02 * moved.abs().max())


@of_every_model
def test_the_step_is_that_of_weights_moved_along_the_same_direction_bit_for_bit(
    make: Callable[[], nn.Module], inputs: torch.Tensor
) -> None:
    """Given the same losses."""
    after = []
    for direction in (BOTH, LowRank(1, 1)):
        model, losses = make(), iter(map(torch.tensor, [1.0, 0.5, 0.25, 0.75]))
        learner = method(direction, queries=2).bind(
            model, lambda m, b, of=losses: m(b.inputs).float().sum() * 0 + next(of), seed=0
        )
        learner.step(given(inputs))
        after.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.equal(*after)


@of_every_model
def test_weights_stay_at_rest_while_outputs_are_moved(make: Callable[[], nn.Module], inputs: torch.Tensor) -> None:
    model = make()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    probe = method(BOTH).bind(model, cross_entropy, seed=0)._probe
    with torch.no_grad(), probe.both(0.05, 0, 0):
        model(inputs.repeat(2, *[1] * (inputs.dim() - 1)))
    assert all(torch.equal(p, was) for p, was in zip(model.parameters(), before, strict=True))
    assert all("forward" not in vars(module) for module in model.modules())


def test_weights_are_at_rest_after_a_pass_that_failed() -> None:
    model = Convolutions()
    model[1].forward = lambda _: 1 / 0
    before = [parameter.detach().clone() for parameter in model.parameters()]
    probe = method(BOTH).bind(model, cross_entropy, seed=0)._probe
    with pytest.raises(ZeroDivisionError), torch.no_grad(), probe.both(0.05, 0, 0):
        model(INPUTS["lenet5"].repeat(2, 1, 1, 1))
    assert all(torch.equal(p, was) for p, was in zip(model.parameters(), before, strict=True))
    with pytest.raises(ZeroDivisionError):
        model[1](INPUTS["lenet5"])


def test_the_mean_of_many_steps_is_the_gradient() -> None:
    inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    model, count, lr = nn.Linear(3, 3), 4000, 1e-2
    cross_entropy(model, given(inputs)).backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    model.zero_grad()
    start = [parameter.detach().clone() for parameter in model.parameters()]
    learner, total = method(BOTH).bind(model, cross_entropy, seed=0), torch.zeros(12)
    for step in range(count):
        learner.step(given(inputs, step))
        for place, parameter, was in zip((slice(0, 9), slice(9, 12)), model.parameters(), start, strict=True):
            total[place] += (was - parameter.detach()).flatten() / (lr * count)
            parameter.data.copy_(was)
    # Fourth moments of u v are nine: the squared error is at most 9 · 12 / count of the gradient's.
    assert (total - gradient).norm() < 3 * (9 * 12 / count) ** 0.5 * gradient.norm()
    assert torch.cosine_similarity(total, gradient, dim=0) > 0.97


class MeanOfBatch(nn.Module):
    """Gives its layer one vector for all examples and another for each, in one go."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.cat([inputs.mean(0, keepdim=True), inputs]))[1:]


class Elsewhere(nn.Module):
    """Uses the weights of its layer without running it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs @ self.layer.weight.t()


@pytest.mark.parametrize(
    ("make", "inputs", "said"),
    [
        (MeanOfBatch, INPUTS["mlp"], "a Linear is not given example after example; choose .*probed=weights"),
        (Elsewhere, INPUTS["mlp"], "layer.weight is not used by its own module"),
        (lambda: pointnet(3, 0), torch.randn(8, 24, 3), "PointNet normalises by the statistics of its batches"),
    ],
)
def test_models_whose_examples_do_not_go_side_by_side_are_refused(
    make: Callable[[], nn.Module], inputs: torch.Tensor, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        method(BOTH).bind(make(), cross_entropy, seed=0).step(given(inputs))


def test_settings_that_need_weights_to_move_are_refused() -> None:
    with pytest.raises(ValueError, match="restore=merged but probed=activations leaves the weights at rest"):
        method(BOTH, "merged")
    with pytest.raises(ValueError, match=r"choose optimizer\.direction\.probed=weights, or"):
        ElasticZO(0.1, 0.1, bp_lr=0.1, bp_layers=1, restore="exact", direction=BOTH)
    with pytest.raises(ValueError, match="probed='outputs' is not moved; choose weights or activations"):
        LowRank(1, 1, "outputs")


def test_no_example_is_dropped_out() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5), nn.Linear(16, 3))
    learner = method(BOTH).bind(model.train(), cross_entropy, seed=0)
    still = method(LowRank(1, 1)).bind(model.eval(), cross_entropy, seed=0)
    assert learner.step(given(INPUTS["mlp"])).loss == pytest.approx(still.step(given(INPUTS["mlp"])).loss, abs=0.05)
    assert not model.training
