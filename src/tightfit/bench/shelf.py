"""What a step of each method of the zeroth-order shelf costs at 135M: `make bench OPTIONS=shelf=true`, in 15 minutes.

Over the MeZO step that it extends, whose numbers it draws, and over two forward passes. The aims beside: a descent that
needs the estimate of each weight takes at most a quarter more than MeZO, directions of low rank and masks a tenth more,
and a step that is probed in the activations no more than two forwards: below what any perturbation in place can do.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tightfit.bench import language
from tightfit.bench.pairs import Work, stepping
from tightfit.bench.targets import SIGNS, Pair, Row, measure, prepared, record, table_of, tokens, told
from tightfit.optimizers.base import Optimizer
from tightfit.optimizers.descents.adam import Adam
from tightfit.optimizers.descents.momentum import Momentum
from tightfit.optimizers.descents.normalised import Normalised
from tightfit.optimizers.descents.sign import Sign
from tightfit.optimizers.directions.low_rank import LowRank
from tightfit.optimizers.directions.sparse import Sparse
from tightfit.optimizers.directions.subspace import Subspace
from tightfit.optimizers.forward_gradient import ForwardGradient
from tightfit.optimizers.hizoo import HiZOO
from tightfit.optimizers.lozo_m import LOZOM
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.mezo_svrg import MeZOSVRG
from tightfit.optimizers.one_sided import OneSided
from tightfit.optimizers.zo_adamu import ZOAdaMU
from tightfit.run.configuration import cores_for
from tightfit.run.evaluate import cross_entropy

SEQUENCES = 4
LR, EPS = language.LR, language.EPS
OF_DESCENTS, OF_DIRECTIONS, OF_VIRTUAL = 1.25, 1.10, 1.00
MEZO = MeZO(LR, EPS)


def methods() -> dict[str, tuple[Optimizer, float | None]]:
    """Each method, and the most that its step is to be of MeZO's, if anything was aimed at."""
    of_rank_one = LowRank(rank=1, period=1, probed="activations")
    return {
        "momentum": (MeZO(LR, EPS, descent=Momentum(0.9)), OF_DESCENTS),
        "Adam": (MeZO(LR, EPS, descent=Adam()), OF_DESCENTS),
        "sign": (MeZO(LR, EPS, descent=Sign()), OF_DESCENTS),
        "LOZO": (MeZO(LR, EPS, direction=LowRank()), OF_DIRECTIONS),
        "SubZero": (MeZO(LR, EPS, direction=Subspace()), OF_DIRECTIONS),
        "masks": (MeZO(LR, EPS, direction=Sparse()), OF_DIRECTIONS),
        "virtual probe": (MeZO(LR, EPS, direction=of_rank_one, restore="exact"), None),
        "LOZO-M": (LOZOM(LR, EPS), None),
        "AdaMU": (ZOAdaMU(LR, EPS, epochs=1.0), None),
        "HiZOO": (HiZOO(LR, EPS), None),
        "SVRG, at and after an anchor in turn": (MeZOSVRG(LR, EPS, anchor_lr=LR), None),
        "FZOO, eight directions": (OneSided(LR, EPS, queries=8, direction=SIGNS, descent=Normalised()), None),
        "forward gradient": (ForwardGradient(LR), None),
    }


def over_mezo() -> list[Row]:
    return [
        Row(f"{name} / MeZO step", aim, partial(beside_mezo, method), cores_for(1))
        for name, (method, aim) in methods().items()
    ]


def over_forwards() -> list[Row]:
    chosen = {"MeZO": MEZO, **{name: method for name, (method, _) in methods().items()}}
    return [
        Row(
            f"{name} step / two forwards",
            OF_VIRTUAL if name == "virtual probe" else None,
            partial(beside_forwards, method),
            cores_for(1),
        )
        for name, method in chosen.items()
    ]


def beside_mezo(method: Optimizer) -> Pair:
    """Each moves a network of its own, for weights may be anywhere between steps."""
    return Pair(step_of(method), step_of(MEZO))


def beside_forwards(method: Optimizer) -> Pair:
    network, batch = Answering(), tokens(SEQUENCES)
    forwards = torch.no_grad()(lambda: [cross_entropy(network, batch).item() for _ in range(2)])
    return Pair(step_of(method), forwards)


def step_of(method: Optimizer) -> Work:
    return stepping(method.bind(Answering(), cross_entropy, seed=0), tokens(SEQUENCES))


class Answering(nn.Module):
    """The network of `bench.language`, which answers with the logits of the last position: (b, vocabulary)."""

    def __init__(self) -> None:
        super().__init__()
        self.network: Any = language.llama(language.SHAPES["135M"], torch.float32)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.network(inputs, logits_to_keep=1).logits[:, -1]


def measure_all(csv: str | None = None) -> None:
    """Show every row beside its aim, and append them to the file `csv`."""
    console, title = prepared()
    told(console, f"{title}; 135M, {SEQUENCES} × 64 tokens, float32")
    for rows in (over_mezo(), over_forwards()):
        measured = list(measure(rows, console))
        console.print(table_of(measured, title))
        if csv and measured:
            record(measured, Path(csv))
