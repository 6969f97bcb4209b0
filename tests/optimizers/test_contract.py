"""What every training method must do. A new one joins by adding its row to METHODS."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from tests.synthetic import adapted
from tightfit.memory.measured import peak_live_bytes
from tightfit.memory.table import layer_table
from tightfit.models import qas_layers
from tightfit.models.adapters.lora import LoRA
from tightfit.models.adapters.mp_lora import MPLoRA
from tightfit.models.adapters.sparse_update import SparseUpdate
from tightfit.models.adapters.tt import TensorTrains
from tightfit.models.base import Traits, traits_of
from tightfit.models.int8_layers import Int8Sequential, Linear, ReLU
from tightfit.models.lenet5 import lenet5
from tightfit.models.lenet5_int8 import lenet5_int8
from tightfit.models.lenet5_qas import HIDDEN, lenet5_qas
from tightfit.numerics.int8 import matmul as integer_matmul
from tightfit.optimizers.activations.checkpointed import Checkpointed
from tightfit.optimizers.activations.mesa import Mesa
from tightfit.optimizers.activations.mesp import MeSP
from tightfit.optimizers.activations.wta_crs import WTACRS
from tightfit.optimizers.base import Batch, Learner, Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.descents.adam import Adam as MeansOfEstimates
from tightfit.optimizers.descents.momentum import Momentum
from tightfit.optimizers.descents.normalised import Normalised
from tightfit.optimizers.descents.sign import Sign, SlopeSign
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.directions.low_rank import LowRank
from tightfit.optimizers.directions.sparse import Sparse
from tightfit.optimizers.directions.subspace import Subspace
from tightfit.optimizers.dp_zo import DPZO
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.elastic_zo_int8 import ElasticZOInt8
from tightfit.optimizers.forward_gradient import ForwardGradient
from tightfit.optimizers.hizoo import HiZOO
from tightfit.optimizers.loho import LoHO
from tightfit.optimizers.lozo_m import LOZOM
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.mezo_svrg import MeZOSVRG
from tightfit.optimizers.niti_bp import NITIBP
from tightfit.optimizers.one_sided import OneSided
from tightfit.optimizers.p_rge import PRGE
from tightfit.optimizers.rules.adafactor import Adafactor
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.adam_8bit import Adam8bit
from tightfit.optimizers.rules.foam import FOAM
from tightfit.optimizers.rules.mofasgd import MoFaSGD
from tightfit.optimizers.rules.muon import Muon
from tightfit.optimizers.rules.sgc import SGC
from tightfit.optimizers.rules.sgd import SGD
from tightfit.optimizers.rules.solo import SOLO
from tightfit.optimizers.schedules import Power
from tightfit.optimizers.seed_pool import SeedPool
from tightfit.optimizers.zo_adamu import ZOAdaMU
from tightfit.run.evaluate import cross_entropy


def tiny_model(seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model


def tiny_int8_model() -> Int8Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Int8Sequential(Linear(8, 16), ReLU(), Linear(16, 3))
    model.input_exponent = -5
    return model


def tiny_qas_model() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        given = qas_layers.Affine(2**-5, 0)
        model: Any = nn.Sequential(
            qas_layers.Linear(8, 16, given, HIDDEN, True), qas_layers.Linear(16, 3, HIDDEN, None, True)
        )
    model.traits = Traits(input_dtype=torch.int8, rounded_to=1.0)
    return model


def tiny_batch(step: int, dtype: torch.dtype = torch.float32) -> Batch:
    """Floats, or int8 in units of 2**−5."""
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(64, 8, generator=generator)
    labels = inputs[:, :3].argmax(dim=1)
    if dtype == torch.int8:
        inputs = (inputs * 32).round().clamp(-127, 127)
    return Batch(inputs.to(dtype), labels, step, epoch=step / 10)


def input_dtype(model: nn.Module) -> torch.dtype:
    return traits_of(model).input_dtype


@dataclass(frozen=True)
class Method:
    optimizer: Optimizer
    steps: int  # enough to learn the tiny problem
    measured_over_analytic: tuple[float, float]  # for LeNet-5 at batch 32
    measured_over_inference: float  # at most
    tiny_model: Callable[[], nn.Module] = tiny_model
    lenet5: Callable[[int, int], nn.Module] = lenet5


# The convention counts all buffers as live at once. A real step frees what it no longer needs, so it stays
# between about half of the convention and all of it.
METHODS = {
    "bp_sgd": Method(Backprop(0.1, SGD()), 60, (0.5, 0.65), 2.0),
    "bp_adam": Method(Backprop(0.02, Adam()), 60, (0.55, 0.7), 2.5),
    "bp_sgd_checkpointed": Method(Backprop(0.1, SGD(), Checkpointed()), 60, (0.65, 0.85), 2.0),
    "bp_adam_checkpointed": Method(Backprop(0.02, Adam(), Checkpointed()), 60, (0.65, 0.85), 2.5),
    "bp_adam_mesa": Method(Backprop(0.02, Adam(), Mesa()), 60, (0.65, 0.75), 2.5),
    "bp_adam_mesa_running": Method(Backprop(0.02, Adam(), Mesa(levels="running")), 60, (0.65, 0.75), 2.5),
    "bp_adam_mesp": Method(
        Backprop(0.05, Adam(), MeSP()),
        60,
        (0.75, 0.9),
        2.5,
        tiny_model=lambda: adapted(tiny_model(), LoRA(4, 8)),
        lenet5=lambda classes, seed: adapted(lenet5(classes, seed), LoRA(4, 8)),
    ),
    "bp_adam_wta_crs": Method(Backprop(0.02, Adam(), WTACRS()), 60, (0.55, 0.7), 2.5),
    "bp_adam_wta_crs_cached": Method(Backprop(0.02, Adam(), WTACRS(norms="cached", examples=64)), 60, (0.55, 0.7), 2.5),
    "mezo": Method(MeZO(lr=0.003, eps=1e-3, clip=20.0), 500, (0.55, 0.65), 1.0),
    "mezo_rademacher": Method(
        MeZO(0.003, 1e-3, clip=20.0, direction=Independent("rademacher")), 500, (0.55, 0.65), 1.0
    ),
    "mezo_gaussian_fast": Method(
        MeZO(0.003, 1e-3, clip=20.0, direction=Independent("gaussian_fast", kernel="portable")), 500, (0.55, 0.65), 1.0
    ),
    "mezo_exact": Method(MeZO(0.003, 1e-3, clip=20.0, restore="exact"), 500, (0.5, 0.6), 1.0),
    "mezo_4_queries": Method(MeZO(lr=0.01, eps=1e-3, clip=20.0, queries=4), 150, (0.55, 0.65), 1.0),
    "zo_sgd_sign": Method(MeZO(0.003, 1e-3, descent=Sign()), 500, (0.55, 0.65), 1.0),
    "zo_slope_sign": Method(MeZO(0.003, 1e-3, descent=SlopeSign()), 500, (0.55, 0.65), 1.0),
    "zo_momentum": Method(MeZO(0.0005, 1e-3, clip=20.0, descent=Momentum()), 500, (0.6, 0.7), 1.3),
    "zo_adam": Method(MeZO(0.01, 1e-3, descent=MeansOfEstimates()), 500, (0.65, 0.75), 1.55),
    "zo_adamm": Method(MeZO(0.01, 1e-3, descent=MeansOfEstimates(largest=True, correct=False)), 500, (0.65, 0.8), 1.8),
    "fzoo": Method(
        OneSided(0.02, 1e-4, queries=8, direction=Independent("rademacher"), descent=Normalised()),
        300,
        (0.55, 0.65),
        1.0,
    ),
    "zo_adamu": Method(ZOAdaMU(0.003, 1e-3, clip=20.0, epochs=50), 500, (0.6, 0.7), 1.3),
    "dp_zo": Method(DPZO(0.01, 1e-3, bound=0.01, noise_multiplier=1.0), 500, (0.55, 0.65), 1.01),
    "sparse_mezo": Method(MeZO(0.01, 1e-3, clip=20.0, direction=Sparse(0.5)), 500, (0.55, 0.65), 1.01),
    "lozo": Method(MeZO(0.003, 1e-3, clip=20.0, direction=LowRank(2, 10)), 500, (0.55, 0.65), 1.0),
    "lozo_m": Method(LOZOM(0.003, 1e-3, clip=20.0, direction=LowRank(2, 10)), 500, (0.55, 0.65), 1.02),
    "subzero": Method(MeZO(0.003, 1e-3, clip=20.0, direction=Subspace(4, 10)), 500, (0.55, 0.65), 1.0),
    "mezo_rank_one": Method(
        MeZO(0.003, 1e-3, clip=20.0, direction=LowRank(1, 1, "activations"), restore="exact"), 500, (0.5, 0.65), 1.9
    ),
    "elastic_zo_minus": Method(ElasticZO(0.003, 1e-3, bp_lr=0.1, bp_layers=1, clip=20.0), 100, (0.55, 0.65), 1.0),
    "elastic_zo_rademacher": Method(
        ElasticZO(
            0.003, 1e-3, bp_lr=0.1, bp_layers=1, clip=20.0, direction=Independent("rademacher", kernel="portable")
        ),
        100,
        (0.55, 0.65),
        1.0,
    ),
    "elastic_zo_exact": Method(
        ElasticZO(0.003, 1e-3, bp_lr=0.1, bp_layers=1, clip=20.0, restore="exact", direction=Independent("rademacher")),
        100,
        (0.5, 0.6),
        1.0,
    ),
    "elastic_zo_plus": Method(
        ElasticZO(0.003, 1e-3, bp_lr=0.1, bp_layers=1, clip=20.0, bp_pass="plus"), 100, (0.55, 0.65), 1.01
    ),
    "elastic_zo_mean": Method(
        ElasticZO(0.003, 1e-3, bp_lr=0.1, bp_layers=1, clip=20.0, bp_pass="mean"), 100, (0.55, 0.65), 1.01
    ),
}
METHODS |= {
    f"p_rge_{parallel}": Method(
        PRGE(lr=0.05, eps=1e-2, queries=4, parallel=parallel),
        300,
        (0.4, 0.7),
        9.0,  # a batch for each copy
        tiny_model=lambda: adapted(tiny_model(), MPLoRA(4, 4)),
        lenet5=lambda classes, seed: adapted(lenet5(classes, seed), MPLoRA(4, 4)),
    )
    for parallel in ("none", "both")
}
# A few scalars of the last comparison outlive their step: hence 1.001.
# The books are those of integers alone: float32, the faster backend of some processors, holds copies beside them.
INT8: dict[str, Any] = {"tiny_model": tiny_int8_model, "lenet5": partial(lenet5_int8, backend="int8")}
METHODS |= {
    "niti_bp": Method(NITIBP(bits=4), 60, (0.4, 0.55), 2.0, **INT8),
    "zo_int8": Method(ElasticZOInt8(15, 0.33), 500, (0.5, 0.6), 1.001, **INT8),
    "zo_int8_star": Method(
        ElasticZOInt8(15, 0.33, loss_sign="integer", fraction_bits=4), 500, (0.5, 0.6), 1.001, **INT8
    ),
    "zo_int8_headroom": Method(ElasticZOInt8(15, 0.33, saturation="headroom"), 500, (0.5, 0.6), 1.001, **INT8),
    "elastic_zo_int8": Method(
        ElasticZOInt8(15, 0.33, bp_layers=1, bp_bits=4, audit=True), 100, (0.5, 0.6), 1.01, **INT8
    ),
    "elastic_zo_int8_star": Method(
        ElasticZOInt8(15, 0.33, bp_layers=1, bp_bits=4, loss_sign="integer"), 100, (0.5, 0.6), 1.01, **INT8
    ),
}
METHODS |= {
    "forward_gradient": Method(ForwardGradient(0.003, clip=20.0), 500, (0.6, 0.7), 2.5),
    "hizoo": Method(HiZOO(0.003, 1e-3, clip=20.0, alpha=1e-3), 500, (0.6, 0.7), 1.5),
    "hizoo_exact": Method(
        HiZOO(0.01, 1e-3, clip=20.0, alpha=1e-3, curvature="exact", restore="exact", queries=4), 150, (0.55, 0.65), 1.5
    ),
    "mezo_svrg": Method(MeZOSVRG(0.003, 1e-3, clip=20.0, anchor_lr=0.003), 500, (0.6, 0.7), 1.5),
    "mezo_svrg_exact": Method(
        MeZOSVRG(0.003, 1e-3, clip=20.0, anchor_lr=0.003, restore="exact", period=3, anchor_batches=2),
        500,
        (0.45, 0.6),
        1.5,
    ),
    "seed_pool": Method(SeedPool(0.003, 1e-3, clip=20.0, pool=256), 500, (0.55, 0.65), 1.01),
    "loho": Method(LoHO(0.003, 1e-3, bp_lr=0.1, bp_layers=2, clip=20.0), 100, (0.55, 0.65), 1.1),
    "loho_adam_mean": Method(
        LoHO(0.003, 1e-3, bp_lr=0.02, bp_layers=1, clip=20.0, share=0.3, rule=Adam(), bp_pass="mean"),
        150,
        (0.55, 0.65),
        1.1,
    ),
    "adazeta": Method(
        MeZO(0.03, 1e-3, clip=20.0, queries=4, growth=Power(0.5, 0.5)),
        400,
        (0.5, 0.7),
        1.3,
        tiny_model=lambda: adapted(tiny_model(), TensorTrains(4, 8, 1)),
        lenet5=lambda classes, seed: adapted(lenet5(classes, seed), TensorTrains()),
    ),
}
METHODS |= {
    "bp_foam": Method(Backprop(0.02, FOAM(alpha=1.0)), 60, (0.5, 0.65), 2.2),
    "bp_mofasgd": Method(Backprop(0.1, MoFaSGD(rank=2)), 60, (0.5, 0.65), 2.2),
    "bp_mofasgd_code": Method(Backprop(0.2, MoFaSGD(rank=2, step="code", eta1=0.25)), 60, (0.5, 0.65), 2.2),
    "bp_solo": Method(Backprop(0.02, SOLO()), 60, (0.5, 0.65), 2.2),
    "bp_sgc": Method(Backprop(0.02, SGC(32, 16, 2)), 60, (0.5, 0.65), 2.4),
    "bp_adafactor": Method(Backprop(0.1, Adafactor()), 60, (0.5, 0.65), 2.2),
    "bp_muon": Method(Backprop(0.02, Muon()), 60, (0.5, 0.65), 2.4),
    "bp_adam_8bit": Method(Backprop(0.02, Adam8bit(block=32)), 60, (0.5, 0.65), 2.4),
    "bp_sgd_fused_backward": Method(Backprop(0.1, SGD(), fused_backward=True), 60, (0.45, 0.65), 2.0),
    "bp_adam_checkpointed_fused_backward": Method(
        Backprop(0.02, Adam(), Checkpointed(), fused_backward=True), 60, (0.6, 0.85), 2.5
    ),
}
# The books are those of an int8 graph; here its whole numbers are float32 between layers: hence above all of them.
METHODS |= {
    "bp_sgd_qas": Method(Backprop(0.1, SGD()), 60, (1.3, 1.5), 2.4, tiny_qas_model, lenet5_qas),
    "bp_sgd_sparse_update": Method(
        Backprop(0.1, SGD()),
        60,
        (1.3, 1.5),
        1.3,
        lambda: adapted(tiny_qas_model(), SparseUpdate(2, {"0": 0.5, "1": 1})),
        lambda classes, seed: adapted(lenet5_qas(classes, seed), SparseUpdate(3, {"conv2": 0.5, "fc1": 0.125})),
    ),
    "mezo_qas": Method(MeZO(30.0, 1.0, clip=20.0), 500, (1.9, 2.1), 1.01, tiny_qas_model, lenet5_qas),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


def train(learner: Learner, steps: range) -> list[float]:
    dtype = input_dtype(learner.resting_model())
    return [learner.step(tiny_batch(step, dtype)).loss for step in steps]


def weights(learner: Learner) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in learner.resting_model().parameters()])


def bind(method: Method, seed: int = 0) -> Learner:
    return method.optimizer.bind(method.tiny_model(), cross_entropy, seed)


@every_method
def test_learns_a_tiny_problem(method: Method) -> None:
    losses = train(bind(method), range(method.steps))
    assert sum(losses[-10:]) / 10 < 0.6 * losses[0]


@every_method
def test_repeats_from_its_seed_and_resumes_as_if_it_had_not_stopped(method: Method) -> None:
    whole, again, part = bind(method), bind(method), bind(method)
    assert train(whole, range(8)) == train(again, range(8))
    train(part, range(3))
    resumed = bind(method)
    resumed.load_state_dict(part.state_dict())
    train(resumed, range(3, 8))
    assert torch.equal(weights(whole), weights(again))
    assert torch.equal(weights(whole), weights(resumed))


def note_backward_passes(model: nn.Module, note: Callable[[], None]) -> None:
    """Calls `note` when the last layer learns of its error: by autograd, or in integers by its own method."""
    last: Any = list(model.children())[-1]
    if not isinstance(last, Linear):
        last.register_full_backward_hook(lambda *_: note())
        return
    weight_gradient = last.weight_gradient

    def noted(values: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        note()
        return weight_gradient(values, error)

    last.weight_gradient = noted


@every_method
def test_reports_the_passes_it_made_and_leaves_no_gradient(method: Method) -> None:
    model = method.tiny_model()
    forward, backward = [], []
    next(model.children()).register_forward_hook(lambda *_: forward.append(True))
    note_backward_passes(model, lambda: backward.append(True))
    report = method.optimizer.bind(model, cross_entropy, seed=0).step(tiny_batch(0, input_dtype(model)))
    assert report.forward_passes == len(forward)
    assert report.backward_passes == len(backward)
    assert all(parameter.grad is None for parameter in model.parameters())


@every_method
def test_measured_peak_is_in_its_band_of_the_analytic_need(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integer_matmul, "int8_is_exact", lambda: True)  # bytes do not depend on it
    model, labels = method.lenet5(10, 0), torch.zeros(32, dtype=torch.int64)
    inputs = torch.zeros(32, 1, 28, 28, dtype=input_dtype(model))
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
