"""The runs that are disturbed: methods of every kind, on made-up data, a dozen steps each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.test_session import INT8, INTEGERS, MEZO, config

ADAM = {
    "_target_": "tightfit.optimizers.bp.Backprop",
    "name": "bp_adam",
    "rule": {"_target_": "tightfit.optimizers.rules.adam.Adam"},
    "lr": 1e-3,
}
ELASTIC = {**MEZO, "_target_": "tightfit.optimizers.elastic_zo.ElasticZO", "name": "elastic_zo", "bp_lr": 0.05}
SVRG = {
    **MEZO,
    "_target_": "tightfit.optimizers.mezo_svrg.MeZOSVRG",
    "name": "mezo_svrg",
    "anchor_lr": 1e-4,
    "period": 5,
}
BARS = {"_target_": "tests.synthetic.bars", "name": "bars", "count": 48}
TRAINING = {"epochs": 4, "evaluations": 4, "batch_size": 16}
METHODS: dict[str, dict[str, Any]] = {
    "mezo": {"optimizer": MEZO},
    "elastic_zo": {"optimizer": {**ELASTIC, "bp_layers": 2}},
    "bp_adam": {"optimizer": ADAM},
    "elastic_zo_int8": {"optimizer": {**INT8, "name": "elastic_zo_int8", "bp_layers": 1}, "model": INTEGERS},
    "mezo_svrg": {"optimizer": SVRG},  # which goes back to weights of an earlier step
    "losses": {"optimizer": MEZO, "training": {**TRAINING, "keep": "losses"}},  # checkpoints without weights
    "best": {"optimizer": ADAM, "dataset": {**BARS, "held_out": 8}, "training": {**TRAINING, "keep": "best"}},
}


def described(method: str, runs: Path, seed: int = 0) -> dict[str, Any]:
    """The configuration of the run by `method`, recorded within `runs`."""
    return config(runs, **{"seed": seed, "dataset": BARS, "training": TRAINING, **METHODS[method]})
