"""Methods change what requires gradients when they are bound, and refuse models of which they can change nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.synthetic import adapted
from tightfit.memory.parts import trained_parameters
from tightfit.memory.table import layer_table, trained_bytes
from tightfit.models.adapters.lora import LoRA
from tightfit.models.adapters.mp_lora import MPLoRA
from tightfit.models.lenet5 import lenet5
from tightfit.models.lenet5_int8 import lenet5_int8
from tightfit.optimizers.base import Batch, Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.directions.low_rank import LowRank
from tightfit.optimizers.directions.sparse import Sparse
from tightfit.optimizers.directions.subspace import Subspace
from tightfit.optimizers.directions.torch_legacy import TorchLegacy
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.elastic_zo_int8 import ElasticZOInt8
from tightfit.optimizers.lozo_m import LOZOM
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.niti_bp import NITIBP
from tightfit.optimizers.p_rge import PRGE
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.foam import FOAM
from tightfit.optimizers.rules.mofasgd import MoFaSGD
from tightfit.optimizers.rules.muon import Muon
from tightfit.optimizers.rules.sgc import SGC
from tightfit.optimizers.rules.sgd import SGD
from tightfit.optimizers.rules.solo import SOLO
from tightfit.run.evaluate import cross_entropy

from .test_contract import tiny_batch, tiny_model

FLOATS: dict[str, Optimizer] = {
    "bp_sgd": Backprop(0.1, SGD()),
    "bp_adam": Backprop(0.1, Adam()),
    "bp_mofasgd": Backprop(0.1, MoFaSGD()),
    "bp_fused_backward": Backprop(0.1, Adam(), fused_backward=True),
    "mezo": MeZO(0.1, 1e-2),
    "mezo_exact": MeZO(0.1, 1e-2, restore="exact", direction=Independent("rademacher")),
    "mezo_torch_legacy": MeZO(0.1, 1e-2, direction=TorchLegacy()),
    "sparse_mezo": MeZO(0.1, 1e-2, direction=Sparse()),
    "lozo": MeZO(0.1, 1e-2, direction=LowRank()),
    "lozo_m": LOZOM(0.1, 1e-2),
    "subzero": MeZO(0.1, 1e-2, direction=Subspace()),
    "mezo_rank_one": MeZO(0.1, 1e-2, direction=LowRank(1, 1, "activations"), restore="exact"),
    "elastic_zo": ElasticZO(0.1, 1e-2, bp_lr=0.1, bp_layers=1),
}
INTEGERS: dict[str, Optimizer] = {"zo_int8": ElasticZOInt8(15, 0.33), "niti_bp": NITIBP(4)}
every = pytest.mark.parametrize("optimizer", FLOATS.values(), ids=FLOATS.keys())


def partly_frozen() -> nn.Sequential:
    model = tiny_model()
    model[0].weight.requires_grad_(False)
    model[2].bias.requires_grad_(False)
    return model


@every
def test_what_requires_no_gradients_stays_and_all_else_moves_also_when_bound_again(optimizer: Optimizer) -> None:
    model = partly_frozen()
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    for seed in (0, 1):
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        optimizer.bind(model, cross_entropy, seed).step(tiny_batch(0))
        moved = {name: not torch.equal(parameter, before[name]) for name, parameter in model.named_parameters()}
        assert moved == flags
        assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == flags


def test_the_table_counts_what_requires_gradients_before_and_after_binding() -> None:
    model = partly_frozen()
    expected = 4 * (16 + 16 * 3)
    assert trained_bytes(layer_table(model, (8,)).rows) == expected
    ElasticZO(0.1, 1e-2, bp_lr=0.1, bp_layers=1).bind(model, cross_entropy, 0).step(tiny_batch(0))
    table = layer_table(model, (8,))
    assert trained_bytes(table.rows) == expected
    assert Backprop(0.1, SGD()).memory(table, 4).gradients == expected
    model[2].weight.requires_grad_(False)
    assert layer_table(model, (8,)).weight_layers == 1


def test_integers_are_trained_though_they_never_require_gradients() -> None:
    assert len(trained_parameters(lenet5_int8(10, 0))) == 5


@every
def test_a_model_with_nothing_left_to_train_is_refused(optimizer: Any) -> None:
    message = r"optimizer=(bp|mezo|elastic_zo|lozo_m) has nothing to train: no parameter of Sequential requires"
    with pytest.raises(ValueError, match=message):
        optimizer.bind(tiny_model().requires_grad_(False), cross_entropy, 0)


@every
def test_floating_point_is_not_trained_on_int8_layers(optimizer: Any) -> None:
    with pytest.raises(ValueError, match=r"LeNet5Int8 has weights of torch.int8; choose optimizer=zo_int8"):
        optimizer.bind(lenet5_int8(10, 0), cross_entropy, 0)


@pytest.mark.parametrize("optimizer", INTEGERS.values(), ids=INTEGERS.keys())
def test_integers_are_not_trained_on_floating_point(optimizer: Optimizer) -> None:
    with pytest.raises(
        ValueError, match=r"trains int8 layers, and LeNet5 is not made of them; choose model=lenet5_int8"
    ):
        optimizer.bind(lenet5(10, 0), cross_entropy, 0)


@pytest.mark.parametrize("rate", [-1, float("nan"), ".nan", "abc", None, float("inf")])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda lr: Backprop(lr, SGD()), "lr"),
        (lambda lr: MeZO(lr, 1e-3), "lr"),
        (lambda lr: PRGE(lr, 1e-3), "lr"),
        (lambda lr: ElasticZO(lr, 1e-3, bp_lr=0.1, bp_layers=1), "lr"),
        (lambda lr: ElasticZO(0.1, 1e-3, bp_lr=lr, bp_layers=1), "bp_lr"),
    ],
    ids=["bp", "mezo", "p_rge", "elastic_zo", "elastic_zo_bp"],
)
def test_rates_that_lead_nowhere_are_refused(make: Callable[[Any], Optimizer], name: str, rate: Any) -> None:
    with pytest.raises(ValueError, match=rf"^optimizer\.{name}=\S+ is (not a finite number from 0|neither a number)"):
        make(rate)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NITIBP(9), r"optimizer.bits=9 is not a whole number from 1 to 7"),
        (lambda: ElasticZOInt8(15, 0.3, bits=0), r"optimizer.bits=0 is not a whole number"),
        (lambda: ElasticZOInt8(15, 0.3, bp_bits="x"), r"optimizer.bp_bits='x' is neither a number"),
        (lambda: Adam(beta1=1.5), r"rule.beta1=1.5 is not from 0 to less than 1"),
        (lambda: MeZO(0.1, ".inf"), r"optimizer.eps=inf is not more than 0 and finite"),
        (lambda: MeZO(0.1, 0.1, clip=".nan"), r"optimizer.clip=nan is not more than 0"),
        (lambda: MeZO(0.1, 0.1, queries=1.5), r"queries=1.5 but a step needs at least one direction"),
        (lambda: MPLoRA(alpha=float("nan")), r"adapter.alpha=nan is not more than 0 and finite"),
        (lambda: LoRA(rank=1.5), r"rank=1.5 but an update has a rank of at least 1"),
    ],
)
def test_other_numbers_that_are_impossible_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_clip_may_be_spelled_as_yaml_spells_infinity() -> None:
    spelled: Any = ".inf"
    reports = [
        MeZO(0.1, 1e-2, clip).bind(tiny_model(), cross_entropy, 0).step(tiny_batch(0)) for clip in (spelled, 1e9)
    ]
    assert reports[0] == reports[1]


HUGE = {
    "bp_sgd": Backprop(1e300, SGD()),
    "bp_adam": Backprop(1e300, Adam()),
    "bp_foam": Backprop(1e300, FOAM()),
    "bp_mofasgd": Backprop(1e300, MoFaSGD()),
    "bp_muon": Backprop(1e300, Muon()),
    "bp_sgc": Backprop(1e300, SGC(32, 16, 2)),
    "bp_solo": Backprop(1e300, SOLO()),
    "mezo": MeZO(1e300, 1e-3),
    "mezo_exact": MeZO(1e300, 1e-3, restore="exact"),
    "mezo_rademacher": MeZO(1e300, 1e-3, direction=Independent("rademacher")),
    "mezo_torch_legacy": MeZO(1e300, 1e-3, direction=TorchLegacy()),
    "elastic_zo": ElasticZO(1e300, 1e-3, bp_lr=1e300, bp_layers=1),
    "p_rge": PRGE(1e300, 1e-3),
    "eps": MeZO(0.1, 1e300),
}


@pytest.mark.parametrize("optimizer", HUGE.values(), ids=HUGE.keys())
def test_a_rate_beyond_the_numbers_of_the_weights_shows_in_the_loss(optimizer: Optimizer) -> None:
    model = adapted(tiny_model(), MPLoRA(2)) if isinstance(optimizer, PRGE) else tiny_model()
    learner = optimizer.bind(model, cross_entropy, 0)
    losses = [learner.step(tiny_batch(step)).loss for step in range(3)]
    assert not torch.tensor(losses[-1]).isfinite()


def test_a_rank_above_the_width_of_all_layers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rank=1000000 but no adapted layer is wider than 16; choose at most 16"):
        adapted(tiny_model(), MPLoRA(1_000_000))


def test_adapters_of_layers_that_are_read_and_not_called_are_refused() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 1, enable_nested_tensor=False)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.encoder(inputs)[:, 0]

    learner = PRGE(0.1, 1e-2).bind(adapted(Reader(), MPLoRA(2)), cross_entropy, 0)
    with pytest.raises(ValueError, match=r"the weights of encoder.layers.0.\S+ are read by another module.*targets"):
        learner.step(Batch(torch.randn(4, 3, 8), torch.arange(4), 0, 0.0))
