"""What a measured peak is made of, against byte counts known beforehand."""

import pytest
import torch
from torch import nn

from tests.models.test_language_model import causal
from tightfit.memory.budget import MemoryBudget
from tightfit.memory.enforcement import Limit
from tightfit.memory.measured import STEPS_TO_PEAK, Peak, peak_live_bytes
from tightfit.models.lenet5 import lenet5
from tightfit.models.lenet5_int8 import lenet5_int8
from tightfit.models.pointnet import pointnet
from tightfit.optimizers.activations.checkpointed import Checkpointed
from tightfit.optimizers.activations.kept import Kept
from tightfit.optimizers.base import Batch, Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.niti_bp import NITIBP
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.sgd import SGD
from tightfit.run.evaluate import cross_entropy
from tightfit.run.measurement import inference_peak, training_peak

CPU = torch.device("cpu")
WEIGHTS = 4 * 107_786  # bytes of LeNet-5
LAST_LAYER = 4 * 850
ADAM_STEPS = 10 * 4  # Adam counts the steps of each of ten tensors in a number of its own
METHODS = {
    "bp_sgd": Backprop(0.05, SGD()),
    "bp_adam": Backprop(0.001, Adam()),
    "bp_adam_checkpointed": Backprop(0.001, Adam(), Checkpointed()),
    "mezo": MeZO(1e-4, 1e-3),
    "elastic_zo": ElasticZO(1e-4, 1e-3, bp_lr=0.05, bp_layers=1),
}


def images(examples: int, dtype: torch.dtype = torch.float32) -> Batch:
    return Batch(torch.zeros(examples, 1, 28, 28, dtype=dtype), torch.zeros(examples, dtype=torch.int64), 0, 0.0)


def clouds() -> Batch:
    return Batch(torch.zeros(2, 128, 3), torch.zeros(2, dtype=torch.int64), 0, 0.0)


def prompts() -> Batch:
    return Batch(torch.ones(4, 16, dtype=torch.int64), torch.zeros(4, dtype=torch.int64), 0, 0.0)


def peak(optimizer: Optimizer, model: nn.Module, batch: Batch) -> Peak:
    return training_peak(optimizer, model, batch, 0, Limit(MemoryBudget("unlimited"), CPU)).tensors


@pytest.mark.parametrize("optimizer", METHODS.values(), ids=METHODS.keys())
@pytest.mark.parametrize("subject", ["lenet5", "pointnet", "llama"])
def test_kinds_sum_to_the_peak_that_is_measured_without_them(optimizer: Optimizer, subject: str) -> None:
    build, batch = {
        "lenet5": (lambda: lenet5(10, 0), images(8)),
        "pointnet": (lambda: pointnet(4, 0), clouds()),
        "llama": (lambda: causal("llama"), prompts()),
    }[subject]
    attributed, plain = peak(optimizer, build(), batch), build()

    def train() -> None:
        learner = optimizer.bind(plain, cross_entropy, 0)
        for step in range(STEPS_TO_PEAK):
            learner.step(Batch(batch.inputs, batch.labels, step, 0.0))

    assert sum(attributed.by_kind.values()) == attributed.bytes
    assert attributed.bytes == peak_live_bytes(train, plain.parameters(), [batch.inputs, batch.labels])


def test_where_parameters_outweigh_activations_adam_peaks_with_all_gradients_and_two_moments() -> None:
    kinds = peak(Backprop(0.001, Adam()), lenet5(10, 0), images(1)).by_kind
    assert kinds["parameters"] == kinds["gradients"] == WEIGHTS
    assert kinds["optimizer_state"] == 2 * WEIGHTS + ADAM_STEPS
    assert kinds["perturbation"] == 0


def test_where_activations_outweigh_parameters_no_gradient_exists_yet_when_adam_peaks() -> None:
    batch = images(256)
    kinds = peak(Backprop(0.001, Adam()), lenet5(10, 0), batch).by_kind
    assert kinds["optimizer_state"] == 2 * WEIGHTS + ADAM_STEPS
    assert kinds["activations"] > 0.9 * 256 * 4 * (4704 + 1176 + 3136 + 784)  # of ReLU and pooling
    assert kinds["gradients"] < WEIGHTS


@pytest.mark.parametrize("examples", [1, 32])
def test_full_zo_has_neither_gradients_nor_state_and_never_a_direction_beside_its_activations(examples: int) -> None:
    kinds = peak(MeZO(1e-4, 1e-3), lenet5(10, 0), images(examples)).by_kind
    assert kinds["parameters"] == WEIGHTS
    assert kinds["gradients"] == kinds["optimizer_state"] == kinds["temporaries"] == 0
    assert (kinds["perturbation"] == 0) == (kinds["activations"] > 0)


def test_the_direction_is_the_peak_where_there_are_next_to_no_activations() -> None:
    drawn = MeZO(1e-4, 1e-3, direction=Independent("torch_gaussian"))
    kinds = peak(drawn, nn.Linear(10_000, 1, bias=False), Batch(torch.ones(1, 10_000), torch.tensor([0]), 0, 0.0))
    assert kinds.by_kind["perturbation"] == 4 * 10_000


def test_hybrid_holds_gradients_of_its_last_layer_at_most() -> None:
    kinds = peak(ElasticZO(1e-4, 1e-3, bp_lr=0.05, bp_layers=1), lenet5(10, 0), images(32)).by_kind
    assert kinds["gradients"] in (0, LAST_LAYER)
    assert kinds["optimizer_state"] == 0


def test_checkpoints_lower_the_activations_and_what_is_computed_again_is_activations_too() -> None:
    plain, checkpointed = (
        peak(Backprop(0.05, SGD(), kept), causal("llama"), prompts()) for kept in (Kept(), Checkpointed())
    )
    assert checkpointed.by_kind["activations"] < plain.by_kind["activations"]
    assert checkpointed.by_kind["activations"] > checkpointed.by_kind["temporaries"]


def test_integer_backpropagation_is_followed_as_well() -> None:
    measured = peak(NITIBP(bits=4), lenet5_int8(10, 0), images(32, torch.int8))
    assert measured.by_kind["parameters"] == 107_550
    assert measured.by_kind["activations"] > 0
    assert sum(measured.by_kind.values()) == measured.bytes


def test_the_model_is_left_alone() -> None:
    model = lenet5(10, 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    peak(Backprop(0.1, Adam()), model, images(2))
    inference_peak(model, images(2))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_process_peak_is_above_that_of_the_tensors_and_says_how_it_was_read() -> None:
    record = training_peak(METHODS["bp_adam"], lenet5(10, 0), images(32), 0, Limit(MemoryBudget("unlimited"), CPU))
    assert record.process.bytes > record.tensors.bytes
    assert record.as_dict()["process_peak_source"] in ("VmHWM", "ru_maxrss")
