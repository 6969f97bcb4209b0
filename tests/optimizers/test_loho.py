"""LoHO lies between MeZO and ElasticZO, and is each of them at an end; within a layer each part moves as that one's."""

from typing import Any

import pytest
import torch
from torch import nn

from tightfit.memory.measured import peak_live_bytes
from tightfit.memory.table import layer_table
from tightfit.models.lenet5 import lenet5
from tightfit.optimizers.base import Batch, Learner
from tightfit.optimizers.descents.sign import Sign
from tightfit.optimizers.directions.torch_legacy import TorchLegacy
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.loho import LoHO, divided_layers, in_parts
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.rules.adam import Adam
from tightfit.run.evaluate import cross_entropy

from .test_contract import tiny_batch, tiny_model, weights

RATES: dict[str, Any] = {"lr": 0.01, "eps": 1e-3}
BP: dict[str, Any] = {"bp_lr": 0.1, "bp_layers": 2}


def trained(method: Any, steps: int = 5) -> Learner:
    learner = method.bind(tiny_model(), cross_entropy, 0)
    for step in range(steps):
        learner.step(tiny_batch(step))
    return learner


@pytest.mark.parametrize("bp_pass", ["minus", "plus", "mean"])
@pytest.mark.parametrize("rule", [{}, {"rule": Adam()}])
def test_with_all_weights_of_the_last_layers_it_is_elastic_zo_bit_for_bit(bp_pass: Any, rule: dict[str, Any]) -> None:
    settings = {**RATES, "bp_lr": 0.1, "bp_layers": 1, "bp_pass": bp_pass, **rule}
    assert torch.equal(weights(trained(LoHO(**settings, share=1.0))), weights(trained(ElasticZO(**settings))))


def test_with_none_of_them_it_is_mezo_bit_for_bit() -> None:
    none = LoHO(**RATES, **BP, share=0.0)
    assert torch.equal(weights(trained(none)), weights(trained(MeZO(**RATES))))
    assert (none.facts().backward_passes, none.facts().rule) == (0, None)
    table = layer_table(lenet5(10, 0), (1, 28, 28))
    assert none.memory(table, 32) == MeZO(**RATES).memory(table, 32)
    assert none.cost(table, 32) == MeZO(**RATES).cost(table, 32)


def test_a_part_that_is_backpropagated_moves_as_in_elastic_zo_and_the_rest_stands_at_a_rate_of_zero() -> None:
    settings = {"lr": 0.0, "eps": 1e-5, **BP}  # so short that gradients at both ends are those at rest
    models = [tiny_model() for _ in range(3)]
    for model, method in zip(models, (LoHO(**settings, share=0.25), ElasticZO(**settings)), strict=False):
        learner = method.bind(model, cross_entropy, 0)
        learner.step(tiny_batch(0))
        learner.resting_model()
    ours, whole, before = (dict(model.named_parameters()) for model in models)
    for name, some in {"0.weight": 4, "0.bias": 4, "2.weight": 1, "2.bias": 1}.items():
        torch.testing.assert_close(ours[name][:some], whole[name][:some], atol=1e-4, rtol=0)
        torch.testing.assert_close(ours[name][some:], before[name][some:], atol=1e-6, rtol=0)
        assert (whole[name][some:] - before[name][some:]).abs().max() > 1e-3


def test_the_rest_of_a_layer_moves_along_the_direction_that_it_was_probed_along() -> None:
    model, probed = tiny_model(), []

    def all_weights() -> torch.Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).double()

    def objective(model: Any, batch: Batch) -> torch.Tensor:
        probed.append(all_weights())
        return cross_entropy(model, batch)

    before = all_weights()
    learner = LoHO(0.01, 1e-2, bp_lr=0.0, bp_layers=1, share=0.4).bind(model, objective, 0)
    learner.step(tiny_batch(0))
    learner.resting_model()
    probe, change = probed[0] - probed[1], all_weights() - before
    still = torch.zeros_like(probe, dtype=torch.bool)
    still[8 * 16 + 16 : 8 * 16 + 16 + 16] = True  # the first of three rows of the last layer, and its bias
    still[-3] = True
    assert torch.equal(probe == 0, still)
    assert torch.equal(change == 0, still)
    factor = probe @ change / (probe @ probe)
    assert (change - factor * probe).norm() < 1e-3 * change.norm()


def test_layers_in_parts_compute_what_they_do_whole() -> None:
    model, images = lenet5(10, 0), torch.randn(3, 1, 28, 28)
    divided = divided_layers(model, LoHO(**RATES, bp_lr=0.1, bp_layers=5, share=0.3))
    assert list(divided) == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    expected = model(images)
    with in_parts(divided):
        torch.testing.assert_close(model(images), expected)
    assert torch.equal(model(images), expected)


def test_layers_that_cannot_be_divided_are_backpropagated_whole() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 3))
    assert list(divided_layers(model, LoHO(**RATES, bp_lr=0.1, bp_layers=3))) == ["3"]


def test_bytes_of_gradients_and_of_the_rules_state_are_those_of_the_part() -> None:
    table = layer_table(lenet5(10, 0), (1, 28, 28))
    method = LoHO(**RATES, bp_lr=0.1, bp_layers=2, share=0.25, rule=Adam())
    part = 4 * (21 * 120 + 21 + 2 * 84 + 2)  # 21 of the 84 outputs of fc2, 2 of the 10 of fc3, with their biases
    breakdown = method.memory(table, 32)
    assert (breakdown.gradients, breakdown.optimizer_state) == (part, 2 * part)
    whole = ElasticZO(**RATES, bp_lr=0.1, bp_layers=2).memory(table, 32)
    assert (breakdown.errors, breakdown.activations) == (whole.errors, whole.activations)


def test_gradients_of_the_other_part_are_never_made() -> None:
    model = nn.Sequential(*(nn.Linear(256, 256) for _ in range(4)))
    given = Batch(torch.zeros(1, 256), torch.zeros(1, dtype=torch.int64), 0, 0.0)
    size = sum(parameter.nbytes for parameter in model.parameters())
    settings = {**RATES, "bp_lr": 0.1, "bp_layers": 4}

    def peak(method: Any) -> float:
        def step() -> None:
            method.bind(model, cross_entropy, 0).step(given)

        return peak_live_bytes(step, model.parameters(), uncounted=(given.inputs, given.labels)) / size

    assert peak(ElasticZO(**settings)) == pytest.approx(2.0, abs=0.1)
    assert peak(LoHO(**settings, share=0.25)) == pytest.approx(1.25, abs=0.1)


def test_cost_of_a_part_lies_between_that_of_errors_alone_and_that_of_all_gradients() -> None:
    table = layer_table(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), (8,))
    costs = [LoHO(**RATES, **BP, share=share).cost(table, 1).backward for share in (0.25, 0.5, 1.0)]
    assert costs == [1.25, 1.5, 2.0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"share": 1.5}, "optimizer.share=1.5 is not from 0 to 1; choose"),
        (
            {"restore": "exact"},
            "loho moves parts of tensors in place, .*; choose restore=merged and direction=gaussian",
        ),
        ({"descent": Sign()}, "descent=sign but loho moves by its slopes alone; choose descent=plain"),
        ({"direction": TorchLegacy()}, "loho moves parts of tensors in place, .*; choose restore=merged"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LoHO(**{**RATES, **BP, **wrong})


def test_more_layers_than_there_are_are_refused() -> None:
    with pytest.raises(ValueError, match="bp_layers=9 but Sequential has 2 layers with weights; choose 0–2"):
        LoHO(**RATES, bp_lr=0.1, bp_layers=9).bind(tiny_model(), cross_entropy, 0)
