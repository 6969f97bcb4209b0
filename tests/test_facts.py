"""A record says what kind of method made the run, and of what it was made, so that nothing need be read off a name."""

from pathlib import Path
from typing import Any

import pytest

from tightfit.models.adapters.adapter import NoAdapter
from tightfit.numerics import CODE_VERSION
from tightfit.records.record import RunRecord, read_run
from tightfit.run.checkpoint import weights_digest
from tightfit.run.facts import adapter_in
from tightfit.run.parts import build_dataset
from tightfit.run.session import build_model, carry_out

from .test_session import INTEGERS, config

OURS = "tightfit.optimizers."
ADAM = {"_target_": OURS + "rules.adam.Adam"}
CHECKPOINTED = {"_target_": OURS + "activations.checkpointed.Checkpointed"}
SIGNS = {"_target_": OURS + "directions.independent.Independent", "noise": "rademacher"}
NORMALISED = {"_target_": OURS + "descents.normalised.Normalised"}
RANK_ONE = {"_target_": OURS + "directions.low_rank.LowRank", "rank": 1, "period": 1, "probed": "activations"}
RATES = {"lr": 1e-4, "eps": 1e-3}
INT8 = {"_target_": OURS + "elastic_zo_int8.ElasticZOInt8", "r_max": 15, "p_zero": 0.3}
NOTHING = dict.fromkeys(("noise", "rule", "descent", "activations", "adapter"))
METHODS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"_target_": OURS + "bp.Backprop", "lr": 0.1, "rule": ADAM, "activations": CHECKPOINTED},
        {"forward_passes": 2, "backward_passes": 1, "queries": 0, "rule": "adam", "activations": "checkpointed"},
    ),
    *(
        (
            {"_target_": OURS + "bp.Backprop", "lr": 0.01, "rule": ADAM, "activations": {"_target_": OURS + place}},
            {"forward_passes": 1, "backward_passes": 1, "queries": 0, "rule": "adam", "activations": kind},
        )
        for kind, place in (("mesa", "activations.mesa.Mesa"), ("wta_crs", "activations.wta_crs.WTACRS"))
    ),
    (
        {"_target_": OURS + "mezo.MeZO", **RATES, "queries": 2, "direction": SIGNS},
        {"forward_passes": 4, "backward_passes": 0, "queries": 2, "noise": "rademacher", "descent": "plain"},
    ),
    (
        {"_target_": OURS + "mezo.MeZO", **RATES, "direction": {"_target_": OURS + "directions.sparse.Sparse"}},
        {"forward_passes": 2, "backward_passes": 0, "queries": 1, "noise": "sparse", "descent": "plain"},
    ),
    (
        {"_target_": OURS + "mezo.MeZO", **RATES, "restore": "exact", "queries": 2, "direction": RANK_ONE},
        {"forward_passes": 2, "backward_passes": 0, "queries": 2, "noise": "rank_one", "descent": "plain"},
    ),
    (
        {"_target_": OURS + "lozo_m.LOZOM", **RATES, "direction": {"_target_": OURS + "directions.low_rank.LowRank"}},
        {
            "forward_passes": 2,
            "backward_passes": 0,
            "queries": 1,
            "noise": "low_rank",
            "descent": "factors",
        },
    ),
    (
        {"_target_": OURS + "elastic_zo.ElasticZO", **RATES, "bp_lr": 0.1, "bp_layers": 1},
        {
            "forward_passes": 2,
            "backward_passes": 1,
            "queries": 1,
            "noise": "gaussian",
            "rule": "sgd",
            "descent": "plain",
        },
    ),
    (
        {"_target_": OURS + "elastic_zo.ElasticZO", **RATES, "bp_lr": 0.1, "bp_layers": 0},
        {"forward_passes": 2, "backward_passes": 0, "queries": 1, "noise": "gaussian", "descent": "plain"},
    ),
    (
        {"_target_": OURS + "one_sided.OneSided", **RATES, "queries": 3, "direction": SIGNS, "descent": NORMALISED},
        {"forward_passes": 4, "backward_passes": 0, "queries": 3, "noise": "rademacher", "descent": "normalised"},
    ),
    (
        {"_target_": OURS + "zo_adamu.ZOAdaMU", **RATES, "epochs": 1},
        {"forward_passes": 2, "backward_passes": 0, "queries": 1, "noise": "gaussian", "descent": "adamu"},
    ),
    (
        {"_target_": OURS + "dp_zo.DPZO", **RATES},
        {"forward_passes": 2, "backward_passes": 0, "queries": 1, "noise": "gaussian", "descent": "plain"},
    ),
    (
        {"_target_": OURS + "forward_gradient.ForwardGradient", "lr": 1e-4, "queries": 2},
        {"forward_passes": 2, "backward_passes": 0, "queries": 2, "noise": "gaussian"},
    ),
    (
        {"_target_": OURS + "hizoo.HiZOO", **RATES, "queries": 2},
        {"forward_passes": 5, "backward_passes": 0, "queries": 2, "noise": "gaussian", "descent": "plain"},
    ),
    (
        {"_target_": OURS + "mezo_svrg.MeZOSVRG", **RATES, "anchor_lr": 1e-4, "period": 1, "queries": 2},
        {"forward_passes": 4, "backward_passes": 0, "queries": 2, "noise": "gaussian", "descent": "plain"},
    ),
    (
        {"_target_": OURS + "seed_pool.SeedPool", **RATES, "pool": 8},
        {"forward_passes": 2, "backward_passes": 0, "queries": 1, "noise": "gaussian", "descent": "plain"},
    ),
    (
        {"_target_": OURS + "loho.LoHO", **RATES, "bp_lr": 0.1, "bp_layers": 2, "share": 0.5},
        {
            "forward_passes": 2,
            "backward_passes": 1,
            "queries": 1,
            "noise": "gaussian",
            "descent": "plain",
            "rule": "sgd",
        },
    ),
    (
        {"_target_": OURS + "p_rge.PRGE", **RATES, "queries": 2, "parallel": "outer"},
        {"forward_passes": 2, "backward_passes": 0, "queries": 2, "noise": "gaussian", "adapter": "mp_lora"},
    ),
    (
        {"_target_": OURS + "admm_pruning.ADMMPruning", "share": 0.5, "epochs": 1, "least": 0.0, "most": 1.0},
        {"forward_passes": 1, "backward_passes": 0, "queries": 0, "rule": "admm"},
    ),
    (
        {**INT8, "bp_layers": 1},
        {"forward_passes": 2, "backward_passes": 1, "queries": 1, "noise": "uniform", "rule": "niti"},
    ),
    (
        {**INT8, "loss_sign": "integer"},
        {"forward_passes": 2, "backward_passes": 0, "queries": 1, "noise": "uniform"},
    ),
    (
        {"_target_": OURS + "niti_bp.NITIBP", "bits": 5},
        {"forward_passes": 1, "backward_passes": 1, "queries": 0, "rule": "niti"},
    ),
]


@pytest.mark.parametrize(("optimizer", "facts"), METHODS, ids=lambda part: part.get("_target_", "").rpartition(".")[2])
def test_facts_on_record_are_what_the_steps_did(
    optimizer: dict[str, Any], facts: dict[str, Any], tmp_path: Path
) -> None:
    name = optimizer["_target_"]
    integers = name.endswith(("Int8", "NITIBP"))
    model = {"model": INTEGERS} if integers else {}
    if "adapter" in facts:
        model["adapter"] = {"_target_": "tightfit.models.adapters.mp_lora.MPLoRA", "name": facts["adapter"]}
    training = {"epochs": 1, "evaluations": 1, "batch_size": 32}
    record = made(config(tmp_path, optimizer={**optimizer, "name": "any"}, training=training, **model))
    loss = " with integer loss" if optimizer.get("loss_sign") == "integer" else ""
    arithmetic = ("int8" if integers else "float32") + loss
    backpropagates = facts["backward_passes"] > 0
    assert record.method == {**NOTHING, **facts, "arithmetic": arithmetic, "backpropagates": backpropagates}
    steps = record.summary["steps"]
    passes = [record.summary[f"{kind}_passes"] / steps for kind in ("forward", "backward")]
    assert passes == [record.method["forward_passes"], record.method["backward_passes"]]


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ({"model": {"lora": None}}, None),
        ({"model": {"lora": {"rank": 8}}}, "lora"),
        ({"model": {}, "adapter": {"name": "mp_lora"}}, "mp_lora"),
        ({"model": {}, "adapter": {"name": "none"}}, None),
    ],
)
def test_adapter_on_record_is_that_of_the_configuration(parts: dict[str, Any], kind: str | None) -> None:
    assert adapter_in(parts) == kind


def made(described: dict[str, Any], command: tuple[str, ...] = ()) -> RunRecord:
    record = read_run(carry_out(described, command).folder)
    assert record is not None
    assert record.status == "finished", record.reason
    return record


def test_record_proves_its_run(tmp_path: Path) -> None:
    words = ("optimizer=bp_sgd", "seed=0")
    described = config(tmp_path)
    record = made(described, words)
    assert (record.config, record.command, record.code_version) == (described, list(words), CODE_VERSION)
    fresh = build_model(described, build_dataset(described, None), None, NoAdapter())
    assert record.model["initial_weights_sha256"] == weights_digest(fresh) != record.summary["weights_sha256"]
    assert record.memory["process_peak_bytes"] > 0
    assert {"capability", "instructions", "numba", "transformers", "peft", "onednn", "host"} <= record.machine.keys()
