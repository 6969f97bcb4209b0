"""The contract of training methods over the product of their axes: every two choices that go together meet in a cell,
and a method is a choice like another.

A new rule, direction, policy of activations or adapter joins by its line in AXES, and then meets all the others.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from tests.synthetic import adapted
from tightfit.memory.measured import peak_live_bytes
from tightfit.memory.parts import trained_blocks, trained_parameters
from tightfit.memory.table import layer_table
from tightfit.models.adapters.adapter import NoAdapter
from tightfit.models.adapters.blocks import Blocks
from tightfit.models.adapters.lora import LoRA
from tightfit.models.adapters.mp_lora import MPLoRA
from tightfit.models.adapters.tt import TensorTrains
from tightfit.models.base import blocks_of_modules
from tightfit.models.hf_causal_lm import random_causal_lm
from tightfit.models.hf_tokenizer import HashedWords
from tightfit.models.lenet5 import lenet5
from tightfit.optimizers.activations.checkpointed import Checkpointed
from tightfit.optimizers.activations.kept import Kept
from tightfit.optimizers.activations.mesa import Mesa
from tightfit.optimizers.activations.mesp import MeSP
from tightfit.optimizers.activations.wta_crs import WTACRS
from tightfit.optimizers.base import Batch, Learner, Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.descents.adam import Adam as MeansOfEstimates
from tightfit.optimizers.descents.along import AlongDirections
from tightfit.optimizers.descents.momentum import Momentum
from tightfit.optimizers.descents.normalised import Normalised
from tightfit.optimizers.descents.plain import Plain
from tightfit.optimizers.descents.sign import Sign, SlopeSign
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.directions.low_rank import LowRank
from tightfit.optimizers.directions.sparse import Sparse
from tightfit.optimizers.directions.subspace import Subspace
from tightfit.optimizers.directions.torch_legacy import TorchLegacy
from tightfit.optimizers.dp_zo import DPZO
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.forward_gradient import ForwardGradient
from tightfit.optimizers.hizoo import HiZOO
from tightfit.optimizers.loho import LoHO
from tightfit.optimizers.lozo_m import LOZOM
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.mezo_svrg import MeZOSVRG
from tightfit.optimizers.one_sided import OneSided
from tightfit.optimizers.p_rge import PRGE
from tightfit.optimizers.rules.adafactor import Adafactor
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.adam_8bit import Adam8bit
from tightfit.optimizers.rules.foam import FOAM
from tightfit.optimizers.rules.masked import Masked
from tightfit.optimizers.rules.mofasgd import MoFaSGD
from tightfit.optimizers.rules.muon import Muon
from tightfit.optimizers.rules.sgc import SGC
from tightfit.optimizers.rules.sgd import SGD
from tightfit.optimizers.rules.solo import SOLO
from tightfit.optimizers.seed_pool import SeedPool
from tightfit.optimizers.zo_adamu import ZOAdaMU
from tightfit.run.evaluate import cross_entropy
from tightfit.run.rehearsal import peak_live

Cell = Mapping[str, Any]  # a choice for each axis of a method, by the names in AXES


def tiny_mlp() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def tiny_llama() -> nn.Module:
    settings = {
        "vocab_size": 32,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    return random_causal_lm("llama", settings, HashedWords(32), (5, 7, 9), classes=3, seed=0)


def random_inputs(*shape: int) -> torch.Tensor:
    return torch.randn(8, *shape, generator=torch.Generator().manual_seed(0))


AXES: dict[str, dict[str, Any]] = {
    "rule": {
        "sgd": SGD(),
        "adam": Adam(),
        "foam": FOAM(second_moment="mean_of_squares"),
        "mofasgd": MoFaSGD(rank=2),
        "mofasgd_code": MoFaSGD(rank=2, step="code", eta1=0.25, eta2=0.1),
        "solo": SOLO(),
        "solo_published": SOLO(bits_m=2, rounding="published", beta1=0.5),
        "sgc": SGC(32, 16, 2),
        "sgc_scalar": SGC(32, 16, 2, "scalar"),
        "adafactor": Adafactor(),
        "muon": Muon(),
        "adam_8bit": Adam8bit(block=32),
        "masked": Masked(Adam()),
    },
    "activations": {
        "kept": Kept(),
        "checkpointed": Checkpointed(),
        "mesa": Mesa(),
        "mesp": MeSP(),
        "wta_crs": WTACRS(least=6),
    },
    "direction": {
        "gaussian": Independent("gaussian"),
        "gaussian_fast": Independent("gaussian_fast", kernel="portable"),
        "rademacher": Independent("rademacher", kernel="portable"),
        "torch_legacy": TorchLegacy(),
        "sparse": Sparse(0.5),
        "low_rank": LowRank(2, 3),
        "subspace": Subspace(2, 3),
        "rank_one": LowRank(1, 1, "activations"),
    },
    "descent": {
        "plain": Plain(),
        "sign": Sign(),
        "slope_sign": SlopeSign(),
        "momentum": Momentum(0.5),
        "adam": MeansOfEstimates(),
        "adamm": MeansOfEstimates(largest=True, correct=False),
    },
    "restore": {"merged": "merged", "exact": "exact"},
    "queries": {"1": 1, "3": 3},
    "curvature": {"published": "published", "exact": "exact"},
    "draw": {"uniform": "uniform", "cycle": "cycle"},
    "parallel": {"none": "none", "inner": "inner", "outer": "outer", "both": "both"},
    "adapter": {
        "none": NoAdapter(),
        "lora": LoRA(2, 4),
        "mp_lora": MPLoRA(2, 4),
        "tt": TensorTrains(2, 4, 2),
        "blocks": Blocks(2),
    },
    "model": {"mlp": tiny_mlp, "llama": tiny_llama, "lenet5": lambda: lenet5(10, 0)},
}
INPUTS = {
    "mlp": random_inputs(8),
    "llama": torch.randint(1, 32, (8, 8), generator=torch.Generator().manual_seed(0)),
    "lenet5": random_inputs(1, 28, 28),
}
ALONG_DIRECTIONS = {name for name, descent in AXES["descent"].items() if isinstance(descent, AlongDirections)}
OF_THE_RATES_LENGTH = ("sign", "adam", "adamm")  # descents whose moves have the rate's length, whatever the slope
INDEPENDENT = ("gaussian", "gaussian_fast", "rademacher")  # directions of independent numbers
ADAPTERS_OF = {"mesp": ("lora",), "wta_crs": ("none", "lora")}  # which policies of activations need factors, or layers


def rate_of(parts: Mapping[str, Any]) -> float:
    """So low that a step along one direction, which is mostly noise, does not overshoot."""
    return 1e-4 if parts["descent"].kind in OF_THE_RATES_LENGTH else 1e-3


# What each method is made of beside the model and the adapter, and how it is made of that.
METHODS: dict[str, tuple[tuple[str, ...], Callable[..., Optimizer]]] = {
    "bp": (("rule", "activations"), lambda **parts: Backprop(1e-3, **parts)),
    "bp_fused_backward": (("rule", "activations"), lambda **parts: Backprop(1e-3, fused_backward=True, **parts)),
    "mezo": (("direction", "descent", "restore", "queries"), lambda **parts: MeZO(rate_of(parts), 1e-3, **parts)),
    "fzoo": (
        ("direction", "restore"),
        lambda **parts: OneSided(1e-4, 1e-3, queries=3, descent=Normalised(), **parts),
    ),
    "zo_adamu": (
        ("direction", "restore"),
        lambda **parts: ZOAdaMU(1e-3, 1e-3, epochs=1.0, **parts),
    ),
    "dp_zo": (
        ("direction", "restore"),
        lambda **parts: DPZO(1e-3, 1e-3, bound=1.0, noise_multiplier=1e-6, **parts),
    ),
    "elastic_zo": (
        ("rule", "direction", "descent", "restore"),
        lambda **parts: ElasticZO(rate_of(parts), 1e-3, bp_lr=1e-3, bp_layers=1, **parts),
    ),
    "lozo_m": (("direction", "restore", "queries"), lambda **parts: LOZOM(1e-3, 1e-3, **parts)),
    "forward_gradient": (("direction", "queries"), lambda **parts: ForwardGradient(1e-3, **parts)),
    "hizoo": (
        ("direction", "restore", "queries", "curvature"),
        lambda **parts: HiZOO(1e-3, 1e-3, alpha=1e-3, **parts),
    ),
    "mezo_svrg": (
        ("direction", "restore", "queries"),
        lambda **parts: MeZOSVRG(1e-3, 1e-3, anchor_lr=1e-3, **parts),
    ),
    "seed_pool": (
        ("direction", "restore", "queries", "draw"),
        lambda **parts: SeedPool(1e-3, 1e-3, pool=8, **parts),
    ),
    "loho": (
        ("rule", "direction"),
        lambda **parts: LoHO(1e-3, 1e-3, bp_lr=1e-3, bp_layers=1, share=0.4, **parts),
    ),
    "p_rge": (("direction", "queries", "parallel"), lambda **parts: PRGE(1e-2, 1e-3, **parts)),
}


def goes_together(method: str, cell: Mapping[str, str]) -> bool:
    """Whether the parts may be combined: what they refuse is tested where they are."""
    if cell["adapter"] not in ADAPTERS_OF.get(cell.get("activations", ""), AXES["adapter"]):
        return False
    plainly = (cell.get("direction"), cell.get("descent", "plain")) == ("gaussian", "plain")
    if method in ("elastic_zo", "loho") and cell["rule"] not in ("sgd", "adam") and not plainly:
        return False  # they could be, but a rule sees gradients alone, and not how other layers move
    if method == "p_rge":
        return cell["adapter"] == "mp_lora" and cell["direction"] in INDEPENDENT
    if method in ("forward_gradient", "hizoo", "mezo_svrg", "seed_pool", "loho", "zo_adamu"):
        return cell["direction"] in INDEPENDENT
    if method == "lozo_m" and cell["direction"] not in ("low_rank", "rank_one"):
        return False
    if cell.get("direction") == "rank_one":
        along = cell.get("descent", "plain") in ALONG_DIRECTIONS
        return along and cell["restore"] == "exact" and method not in ("elastic_zo", "fzoo", "dp_zo")
    if cell.get("direction") == "torch_legacy":
        if method in ("fzoo", "dp_zo"):
            return False
        along = cell.get("descent", "plain") in ALONG_DIRECTIONS
        return along and cell["restore"] == "merged" and cell.get("queries", "1") == "1"
    return True


def all_cells() -> list[dict[str, str]]:
    """Every choice of a method and its parts that go together."""
    cells = []
    for method, (own_axes, _) in METHODS.items():
        axes = [*own_axes, "adapter", "model"]
        made = (dict(zip(axes, names, strict=True)) for names in product(*(AXES[axis] for axis in axes)))
        cells += [{"method": method, **cell} for cell in made if goes_together(method, cell)]
    return cells


def sampled(cells: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The fewest of `cells`, nearly, in which each two choices meet that meet in any, taken greedily. The method is a
    choice like another: it meets each choice of a part, and two choices of parts meet in one of the methods."""
    pairs_in = [pairs(cell) for cell in cells]
    unmet = set().union(*pairs_in)
    chosen = []
    while unmet:
        best = max(range(len(cells)), key=lambda place: len(pairs_in[place] & unmet))
        unmet -= pairs_in[best]
        chosen.append(cells[best])
    return sorted(chosen, key=lambda cell: list(METHODS).index(cell["method"]))


def pairs(cell: Mapping[str, str]) -> set[Any]:
    return set(combinations(sorted(cell.items()), 2))


CELLS = [(cell.pop("method"), cell) for cell in sampled(all_cells())]
every_cell = pytest.mark.parametrize(
    ("method", "cell"), CELLS, ids=["-".join([method, *cell.values()]) for method, cell in CELLS]
)


def method_of(method: str, cell: Mapping[str, str]) -> Optimizer:
    axes, make = METHODS[method]
    return make(**{axis: AXES[axis][cell[axis]] for axis in axes})


def model_of(cell: Mapping[str, str]) -> nn.Module:
    return adapted(AXES["model"][cell["model"]](), AXES["adapter"][cell["adapter"]])


def bind(method: str, cell: Mapping[str, str]) -> Learner:
    return method_of(method, cell).bind(model_of(cell), cross_entropy, 0)


def batch(cell: Mapping[str, str], step: int = 0) -> Batch:
    return Batch(INPUTS[cell["model"]], torch.arange(8) % 3, step, epoch=0.0)


def train(learner: Learner, cell: Mapping[str, str], steps: range) -> list[float]:
    return [learner.step(batch(cell, step)).loss for step in steps]


def weights(learner: Learner) -> torch.Tensor:
    return torch.cat([weights.flatten().float() for weights in learner.resting_model().state_dict().values()])


def test_every_two_choices_that_go_together_meet_in_a_cell() -> None:
    met = {
        frozenset([one, other])
        for method, cell in CELLS
        for one, other in product([("method", method), *cell.items()], repeat=2)
    }
    for method, (axes, _) in METHODS.items():
        named = [("method", method), *((axis, name) for axis in (*axes, "adapter", "model") for name in AXES[axis])]
        for one, other in combinations(named, 2):
            if one[0] != other[0] and frozenset([one, other]) not in met:
                assert not may_meet(method, dict([one, other])), f"{one} never meets {other}"


def may_meet(method: str, fixed: Mapping[str, str]) -> bool:
    """Whether any cell of `method` has the choices in `fixed`."""
    axes = (*METHODS[method][0], "adapter", "model")
    names = product(*([fixed[axis]] if axis in fixed else AXES[axis] for axis in axes))
    return any(goes_together(method, dict(zip(axes, chosen, strict=True))) for chosen in names)


@every_cell
def test_small_steps_lower_the_loss_of_their_batch(method: str, cell: Cell) -> None:
    """Along any direction the slope is followed down, so a small step of every method leads down."""
    learner = bind(method, cell)
    losses = []
    for steps in (range(0), range(10)):
        train(learner, cell, steps)
        with torch.no_grad():
            losses.append(float(cross_entropy(learner.resting_model(), batch(cell))))
    assert losses[1] < losses[0]


@every_cell
def test_it_repeats_from_its_seed_and_resumes_as_if_it_had_not_stopped(method: str, cell: Cell) -> None:
    whole, again, part = bind(method, cell), bind(method, cell), bind(method, cell)
    assert train(whole, cell, range(4)) == train(again, cell, range(4))
    train(part, cell, range(2))
    resumed = bind(method, cell)
    resumed.load_state_dict(copy.deepcopy(part.state_dict()))
    train(resumed, cell, range(2, 4))
    assert torch.equal(weights(whole), weights(again))
    assert torch.equal(weights(whole), weights(resumed))


@every_cell
def test_it_reports_the_passes_it_made_and_leaves_no_gradient(
    method: str, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, forward, backward = model_of(cell), [], []
    block_of, trained = blocks_of_modules(model), trained_blocks(model)  # no error reaches those before: nor a pass
    within_a_block = next(
        part
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear | nn.Conv2d) and block_of[name] in trained
    )
    # Where both ends share a pass, a layer whose outputs cannot be moved answers for one half after the other.
    passed = model if cell.get("direction") == "rank_one" else within_a_block
    passed.register_forward_hook(lambda *_: forward.append(True))
    real = torch.Tensor.backward
    monkeypatch.setattr(
        torch.Tensor, "backward", lambda *given, **named: (backward.append(True), real(*given, **named))
    )
    optimizer = method_of(method, cell)
    report = optimizer.bind(model, cross_entropy, 0).step(batch(cell))
    assert (report.forward_passes, report.backward_passes) == (len(forward), len(backward))
    assert all(parameter.grad is None for parameter in model.parameters())
    cost = optimizer.cost(layer_table(model_of(cell), tuple(INPUTS[cell["model"]].shape[1:])), 8)
    assert (cost.backward > 0) == (report.backward_passes > 0)


@every_cell
def test_nothing_that_is_frozen_moves(method: str, cell: Cell) -> None:
    model = model_of(cell)
    trained = {name for name, _ in trained_parameters(model)}
    before = copy.deepcopy(model.state_dict())
    train(method_of(method, cell).bind(model, cross_entropy, 0), cell, range(2))
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved
    assert moved <= trained


@every_cell
def test_its_rehearsed_peak_is_the_measured_one(method: str, cell: Cell) -> None:
    optimizer, model, given = method_of(method, cell), model_of(cell), batch(cell)
    rehearsed = peak_live(optimizer, copy.deepcopy(model), given, cross_entropy)

    def two_steps() -> None:
        learner = optimizer.bind(model, cross_entropy, 0)
        for step in range(2):
            learner.step(replace(given, step=step))

    measured = peak_live_bytes(two_steps, model.parameters(), uncounted=(given.inputs, given.labels))
    if cell.get("restore") == "exact" and cell["model"] == "mlp":
        # Losses of a rehearsal are all 1. At a slope of 0 an exact update does nothing; here its noise is the peak.
        assert rehearsed <= measured
    else:
        assert rehearsed == measured


@every_cell
def test_its_breakdown_counts_what_is_trained_and_held(method: str, cell: Cell) -> None:
    model = model_of(cell)
    table = layer_table(model, tuple(INPUTS[cell["model"]].shape[1:]))
    trained = sum(parameter.nbytes for _, parameter in trained_parameters(model))
    one, two = (method_of(method, cell).memory(table, batch_size) for batch_size in (1, 2))
    assert one.parameters == two.parameters >= sum(parameter.nbytes for parameter in model.parameters())
    assert one.activations < two.activations
    assert one.gradients == two.gradients <= trained
    assert (one.gradients == trained) == (method == "bp")
    assert one.optimizer_state == two.optimizer_state == bytes_beside_the_model(method, cell)


def bytes_beside_the_model(method: str, cell: Cell) -> int:
    """What a learner saves after a step, numbers of steps left out."""
    learner = bind(method, cell)
    train(learner, cell, range(1))
    beside = {name: part for name, part in learner.state_dict().items() if name != "model"}
    return sum(leaf.nbytes for leaf in tree_leaves(beside) if isinstance(leaf, torch.Tensor) and leaf.dim())
