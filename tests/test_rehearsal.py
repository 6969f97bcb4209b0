"""What is rehearsed without data is what real steps then hold, to the byte."""

import copy
from collections.abc import Generator
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from tests.synthetic import adapted
from tightfit.memory.measured import peak_live_bytes
from tightfit.memory.without_data import MANY_PIECES, three_pieces
from tightfit.models.adapters.adapter import Adapter
from tightfit.models.adapters.blocks import Blocks
from tightfit.models.adapters.lora import LoRA
from tightfit.models.adapters.sparse_update import SparseUpdate
from tightfit.models.base import traits_of
from tightfit.models.hf_causal_lm import random_causal_lm
from tightfit.models.hf_tokenizer import HashedWords
from tightfit.models.lenet5 import lenet5
from tightfit.models.lenet5_int8 import lenet5_int8
from tightfit.models.lenet5_qas import lenet5_qas
from tightfit.models.pointnet import pointnet
from tightfit.models.vit import vit_tiny
from tightfit.numerics.noise.perturbation import Noise
from tightfit.optimizers.activations.checkpointed import Checkpointed
from tightfit.optimizers.activations.kept import Kept
from tightfit.optimizers.activations.mesa import Mesa
from tightfit.optimizers.activations.wta_crs import WTACRS
from tightfit.optimizers.base import Batch, Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.elastic_zo_int8 import ElasticZOInt8
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.niti_bp import NITIBP
from tightfit.optimizers.rules.adafactor import Adafactor
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.adam_8bit import Adam8bit
from tightfit.optimizers.rules.foam import FOAM
from tightfit.optimizers.rules.mofasgd import MoFaSGD
from tightfit.optimizers.rules.muon import Muon
from tightfit.optimizers.rules.rule import Rule
from tightfit.optimizers.rules.sgc import SGC
from tightfit.optimizers.rules.sgd import SGD
from tightfit.optimizers.rules.solo import SOLO
from tightfit.run.evaluate import cross_entropy
from tightfit.run.rehearsal import batch_like, peak_live, peak_live_of_inference


def elastic_zo(bp_layers: int, noise: Noise = "gaussian") -> ElasticZO:
    return ElasticZO(lr=1e-3, bp_lr=1e-2, eps=1e-3, bp_layers=bp_layers, direction=Independent(noise))


def llama(attention: str = "sdpa", adapter: Adapter | None = None, hidden: int = 32) -> nn.Module:
    settings = {
        "vocab_size": 512,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    words = HashedWords(vocabulary=512)
    model = random_causal_lm("llama", settings, words, (5, 7), classes=2, seed=0, attention=attention)
    return adapted(model, adapter)


FLOATS = [
    MeZO(1e-3, 1e-3),
    MeZO(1e-3, 1e-3, queries=2),
    MeZO(1e-3, 1e-3, direction=Independent("rademacher")),
    MeZO(1e-3, 1e-3, restore="exact", direction=Independent("gaussian_fast", kernel="portable")),
    ElasticZO(1e-3, 1e-3, bp_lr=1e-2, bp_layers=1, restore="exact"),
    elastic_zo(1),
    elastic_zo(2),
    Backprop(1e-2, SGD(), Checkpointed()),
    Backprop(1e-2, SGD()),
    Backprop(1e-3, Adam(), Checkpointed()),
    Backprop(1e-3, Adam()),
    Backprop(1e-2, SGD(), Mesa()),
    Backprop(1e-2, SGD(), WTACRS()),
    Backprop(1e-2, SGD(), WTACRS(norms="cached", examples=64)),
    Backprop(1e-3, MoFaSGD(), Checkpointed()),
    Backprop(1e-3, Muon()),
    Backprop(1e-3, Adafactor()),
    Backprop(1e-3, SOLO(), fused_backward=True),
]
INTEGERS = [
    *(ElasticZOInt8(r_max=15, p_zero=0.5, bp_layers=layers) for layers in (0, 1, 2)),
    ElasticZOInt8(r_max=15, p_zero=0.5, loss_sign="integer"),
    NITIBP(bits=5),
]
OF_WHOLE_NUMBERS = [
    MeZO(1.0, 1.0),
    ElasticZO(1.0, 1.0, bp_lr=1e-2, bp_layers=2),
    *(Backprop(1e-2, rule, kept) for rule in (SGD(), Adam()) for kept in (Kept(), Checkpointed())),
]
# Name: model, shape of an example, what trains it.
SUBJECTS: dict[str, tuple[Any, tuple[int, ...], list[Any]]] = {
    "lenet5": (lambda: lenet5(classes=10, seed=0), (1, 28, 28), FLOATS),
    "lenet5_int8": (lambda: lenet5_int8(classes=10, seed=0), (1, 28, 28), INTEGERS),
    "pointnet": (lambda: pointnet(classes=10, seed=0), (48, 3), FLOATS),
    "vit": (lambda: vit_tiny(10, 0, width=16, depth=3, heads=2), (1, 28, 28), FLOATS),
    "vit_bsr": (lambda: adapted(vit_tiny(10, 0, 16, 4, 2), Blocks(3, keep=0.6)), (1, 28, 28), FLOATS),
    "qas": (lambda: lenet5_qas(10, 0), (1, 28, 28), OF_WHOLE_NUMBERS),
    "qas_sparse": (
        lambda: adapted(lenet5_qas(10, 0), SparseUpdate(3, {"conv2": 0.5, "fc1": 0.1})),
        (1, 28, 28),
        OF_WHOLE_NUMBERS,
    ),
    "llama": (llama, (16,), FLOATS),
    "llama_eager": (lambda: llama("eager"), (16,), FLOATS),
    "llama_lora": (lambda: llama(adapter=LoRA(rank=4, alpha=8)), (16,), FLOATS),
}


def real_batch(model: nn.Module, shape: tuple[int, ...], batch_size: int) -> Batch:
    dtype = traits_of(model).input_dtype
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(1, 100, (batch_size, *shape), generator=generator).to(dtype)
    return Batch(inputs, torch.arange(batch_size) % 2, step=0, epoch=0.0)


def measured(optimizer: Optimizer, model: nn.Module, batch: Batch) -> int:
    model = copy.deepcopy(model)

    def train() -> None:
        learner = optimizer.bind(model, cross_entropy, 0)
        for step in range(2):
            learner.step(Batch(batch.inputs, batch.labels, step, 0.0))

    return peak_live_bytes(train, model.parameters(), uncounted=(batch.inputs, batch.labels))


@pytest.mark.parametrize(("subject", "batch_size"), [*((name, 9) for name in SUBJECTS), ("lenet5_int8", 1)])
def test_rehearsed_peak_is_the_measured_peak_of_every_method(subject: str, batch_size: int) -> None:
    build, shape, optimizers = SUBJECTS[subject]
    model = build()
    rehearsed = [peak_live(o, model, batch_like(model, shape, batch_size), cross_entropy) for o in optimizers]
    assert rehearsed == [measured(o, model, real_batch(model, shape, batch_size)) for o in optimizers]


class Slices(TorchFunctionMode):
    """Slices by operators: Python's brackets ask for CUDA itself, even of tensors without data."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is not torch.Tensor.__getitem__ or not args[0].is_cuda:
            return func(*args, **(kwargs or {}))
        tensor, index = args
        index = index if isinstance(index, tuple) else (index,)
        first = tensor.dim() - len(index) + 1 if index[0] is Ellipsis else 0
        for dim, part in enumerate(index[index[0] is Ellipsis :], first):
            tensor = torch.ops.aten.slice.Tensor(tensor, dim, part.start, part.stop, part.step or 1)
        return tensor


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """A device that tensors without data may claim; on a machine without it, what is missing to do so is replaced."""
    on_cpu = torch.Generator

    class Anywhere:
        def __new__(cls, device: object = "cpu") -> torch.Generator:
            return on_cpu()

    if torch.cuda.is_available():
        yield "cuda"
        return
    monkeypatch.setattr(torch, "Generator", Anywhere)
    with Slices():
        yield "cuda"


# The other methods have kernels of their own on the CPU, or PyTorch's Adam has.
SAME_ANYWHERE = [MeZO(1e-3, 1e-3, queries=queries, direction=Independent("torch_gaussian")) for queries in (1, 2)]
BACKPROPAGATING = [
    *(elastic_zo(layers, "torch_gaussian") for layers in (1, 2)),
    Backprop(1e-2, SGD()),
    Backprop(1e-2, SGD(), Checkpointed()),
]


def assert_same_on(device: str, subject: str, optimizers: list[Optimizer]) -> None:
    build, shape, _ = SUBJECTS[subject]
    model = build()
    batch = batch_like(model, shape, 9)
    for optimizer in optimizers:
        peaks = [peak_live(optimizer, model, batch, cross_entropy, where) for where in (device, "cpu")]
        assert peaks[0] == peaks[1]
    inference = [peak_live_of_inference(model, batch, cross_entropy, where) for where in (device, "cpu")]
    assert inference[0] == inference[1]


@pytest.mark.parametrize("subject", ["lenet5", pytest.param("pointnet", marks=pytest.mark.cuda)])
def test_zeroth_order_step_on_cuda_is_rehearsed_as_one_on_the_cpu(subject: str, cuda: str) -> None:
    assert_same_on(cuda, subject, SAME_ANYWHERE)


@pytest.mark.cuda  # PyTorch's backward pass aborts the process where tensors claim a device that it was built without
@pytest.mark.parametrize("subject", ["lenet5", "pointnet"])
def test_backpropagation_on_cuda_is_rehearsed_as_that_on_the_cpu(subject: str) -> None:
    assert_same_on("cuda", subject, BACKPROPAGATING)


def test_mezo_needs_as_much_on_cuda_as_was_measured_on_the_cpu(cuda: str) -> None:
    """The table of the Gaussian numbers is on the device too; the CPU's is part of the program."""
    model = lenet5(classes=10, seed=0)
    for noise, table in (("torch_gaussian", 0), ("gaussian", 4 * 2**16)):
        optimizer = MeZO(1e-3, 1e-3, direction=Independent(noise))
        peak = peak_live(optimizer, model, batch_like(model, (1, 28, 28), 32), cross_entropy, cuda)
        assert peak == 1_635_368 + table


@pytest.mark.parametrize(
    "optimizer", [*FLOATS[2:4], *(pytest.param(o, marks=pytest.mark.cuda) for o in INTEGERS)], ids=str
)
def test_eager_sweeps_are_rehearsed_on_cuda_with_what_they_hold(optimizer: Optimizer, cuda: str) -> None:
    model = (lenet5 if optimizer in FLOATS else lenet5_int8)(classes=10, seed=0)
    weights = list(model.parameters())
    least = sum(weight.nbytes for weight in weights) + 9 * 6 * 28 * 28 * weights[0].element_size()
    assert peak_live(optimizer, model, batch_like(model, (1, 28, 28), 9), cross_entropy, cuda) > least


@pytest.mark.parametrize("subject", SUBJECTS)
def test_rehearsed_inference_is_the_measured_one(subject: str) -> None:
    build, shape, _ = SUBJECTS[subject]
    model = build()
    batch = real_batch(model, shape, 9)
    infer = torch.no_grad()(lambda: cross_entropy(model, batch))
    peak = peak_live_bytes(infer, model.parameters(), uncounted=(batch.inputs, batch.labels))
    assert peak_live_of_inference(model, batch_like(model, shape, 9), cross_entropy) == peak


def test_sweeps_over_many_pieces_are_shortened_without_a_change() -> None:
    model = nn.Sequential(nn.Linear(1500, 1000), nn.Linear(1000, 2))  # 92 pieces
    optimizer = MeZO(1e-3, 1e-3)
    assert peak_live(optimizer, model, batch_like(model, (1500,), 3), cross_entropy) == measured(
        optimizer, model, real_batch(model, (1500,), 3)
    )


@pytest.mark.parametrize("rule", [FOAM(), SOLO(), SOLO(2, 32), SGC(), SGC(500, 20, 2, "scalar"), Adam8bit()], ids=str)
def test_rules_that_step_many_pieces_of_a_tensor_are_shortened_without_a_change(rule: Rule) -> None:
    """Tensors of 92 and of 66 pieces, the second of which no block and no row fills up."""
    model = nn.Sequential(nn.Linear(1500, 1001, bias=False), nn.Linear(1001, 1081, bias=False))
    for fused in (None, True):
        optimizer = Backprop(1e-3, rule, fused_backward=fused)
        assert peak_live(optimizer, model, batch_like(model, (1500,), 3), cross_entropy) == measured(
            optimizer, model, real_batch(model, (1500,), 3)
        )


@pytest.mark.parametrize("size", [3, 5])
def test_three_pieces_are_the_first_two_and_the_last(size: int) -> None:
    numbers = torch.arange(size * MANY_PIECES + size)
    whole = numbers.split(size)
    for piece, expected in zip(three_pieces(numbers, size), (whole[0], whole[1], whole[-1]), strict=True):
        assert torch.equal(piece, expected)
    assert torch.equal(three_pieces(numbers[:-1], size)[2], numbers[:-1].split(size)[-1])


def test_weights_are_not_needed_and_nothing_becomes_of_those_there_are() -> None:
    model = llama()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = batch_like(model, (16,), 4)
    with_weights = [peak_live(optimizer, model, batch, cross_entropy) for optimizer in FLOATS]
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    model = model.to("meta")
    assert [peak_live(optimizer, model, batch, cross_entropy) for optimizer in FLOATS] == with_weights


class TiedTwice(nn.Module):
    """Two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 64, bias=False)
        self.second = nn.Linear(64, 64, bias=False)
        self.second.weight = self.first.weight

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(inputs))


def test_tied_weights_stay_one() -> None:
    model = TiedTwice()
    batch = batch_like(model, (64,), 1)
    assert 64 * 64 * 4 <= peak_live_of_inference(model, batch, cross_entropy) < 2 * 64 * 64 * 4


def test_zeroth_order_holds_what_inference_holds_and_a_piece() -> None:
    model = llama(hidden=128)
    batch = batch_like(model, (16,), 8)
    inference = peak_live_of_inference(model, batch, cross_entropy)
    zeroth_order, adam = (
        peak_live(optimizer, model, batch, cross_entropy) for optimizer in (FLOATS[0], Backprop(1e-3, Adam()))
    )
    assert inference <= zeroth_order <= 1.05 * inference
    assert adam > 3.9 * sum(weight.nbytes for weight in model.parameters())


class Choosing(nn.Linear):
    """Goes on with the examples that a threshold lets through."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input[input[:, 0] > 0])


def test_sizes_that_depend_on_data_are_refused() -> None:
    model = Choosing(4, 2)
    with pytest.raises(ValueError, match=r"aten\.nonzero.* depends on data.*choose decided_by=measured"):
        peak_live(FLOATS[0], model, batch_like(model, (4,), 8), cross_entropy)


@pytest.mark.slow
def test_thirteen_billion_parameters_are_rehearsed_without_one_of_them() -> None:
    settings = {
        "vocab_size": 32000,
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
    }
    with torch.device("meta"):
        model = random_causal_lm(
            "llama", settings, HashedWords(vocabulary=32000), (5, 7), classes=2, seed=0, dtype="bfloat16"
        )
    weights = sum(weight.nbytes for weight in model.parameters())
    assert weights == 2 * (13_015_864_320 - 32000 * 5120 + 2 * 5120)  # the head keeps the rows of two answers
    peak = peak_live(FLOATS[0], model, batch_like(model, (512,), 8), cross_entropy)
    assert weights < peak < 1.05 * weights
