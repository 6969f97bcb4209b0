"""The cells of the product of all axes: which choices go together, and the fewest in which every two of them meet.

A method is a choice like another: a new one joins by its line in METHODS.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import pytest
import torch
from torch import nn

from tests.synthetic import adapted
from tightfit.optimizers.base import Batch, Learner, Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.descents.along import AlongDirections
from tightfit.optimizers.descents.normalised import Normalised
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
from tightfit.optimizers.seed_pool import SeedPool
from tightfit.optimizers.zo_adamu import ZOAdaMU
from tightfit.run.evaluate import cross_entropy

from .axes import AXES, INPUTS

Cell = Mapping[str, Any]  # a choice for each axis of a method, by the names in AXES
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
