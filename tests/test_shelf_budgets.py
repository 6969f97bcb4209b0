"""What the shelf within budgets promises: equal work and equal trials for every contender, one budget that refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.papers import budgets
from analysis.protocol import comparisons
from tests.test_zo_shelf import passes_of_a_step
from tightfit.launch.reproduce import Planned, plan
from tightfit.memory.budget import parse_size
from tightfit.memory.table import LayerTable, layer_table
from tightfit.models.lenet5 import lenet5
from tightfit.models.lru import lru
from tightfit.models.vit import vit_tiny
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.records.places import EXPERIMENTS
from tightfit.run.parts import build, without_descriptions

SHELF = Path(EXPERIMENTS) / "shelf"
WORK = {  # forward passes, and the examples of an epoch
    "lenet5": (2_000, 1_024),
    "vit_tiny": (2_000, 1_024),
    "lru": (18_000, 60_000),
    "minilm_l6": (180, 2_000),
    "smollm2_135m_lora": (180, 2_000),
    "smollm2_135m": (180, 2_000),
}
IMAGE = (1, 28, 28)
MODELS = {"vit_tiny": vit_tiny, "lru": lru}  # on the others backpropagation is worth what it is on LeNet-5
# Passes that are worth one backward pass through low-rank updates, by the tables of the whole models.
LOW_RANK = {"minilm_l6": 0.99311, "smollm2_135m_lora": 1.00121}


def table_of(name: str, adapter: dict[str, Any]) -> LayerTable:
    """Of the model as `adapter` leaves it, where that model is ours."""
    model = MODELS.get(name, lenet5)(10, seed=0)
    if name in MODELS:
        build(without_descriptions(adapter)).inject(model, 0)
    return layer_table(model, IMAGE)


def work_of(name: str, run: Planned) -> float:
    training, passes = run.config["training"], WORK[name][1] // run.config["training"]["batch_size"]
    table = table_of(name, run.config["adapter"])
    method = build(without_descriptions(run.config["optimizer"]))
    step = passes_of_a_step(run.config, table)
    backward = method.cost(table, training["batch_size"]).backward
    if run.config["adapter"]["name"] == "lora" and backward and not isinstance(method, ElasticZO):
        step += LOW_RANK[name] - backward
    return training["epochs"] * passes * step


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("folder", ["", "tuning/"])
def test_every_contender_does_the_same_work(name: str, folder: str) -> None:
    words = [f"experiments=shelf/{folder}{name}", f"seed={100 if folder else 0}", "profile=paper"]
    runs = plan([*words, *(["trial=t1"] if folder else [])])
    assert len({run.config["cell"]["row"] for run in runs}) == len(runs) > 10
    for run in runs:
        assert work_of(name, run) == pytest.approx(WORK[name][0], rel=2e-3), run.config["cell"]["row"]


def said(name: str) -> dict[str, Any]:
    return yaml.safe_load((SHELF / f"{name}.yaml").read_text())


def rows_of(content: dict[str, Any]) -> list[str]:
    params = content["hydra"]["sweeper"]["params"]
    return next(str(value).split(",") for key, value in params.items() if key.startswith("experiments/shelf/"))


@pytest.mark.parametrize("name", [*WORK, "kb256"])
def test_trials_are_of_the_rows_that_are_run_and_six_for_each(name: str) -> None:
    trials, run = said(f"tuning/{name}"), said(name)
    (chosen,) = run["chosen"].values()
    assert rows_of(trials) == rows_of(run) == list(chosen)
    first = ["t1", "t2", "t3", "t4", "t5", "t6"]
    beyond = list(trials["box"])[6:]  # an edge at which a row won
    assert trials["hydra"]["sweeper"]["params"]["trial"] == ",".join(first)
    for row in rows_of(run):
        tried = [str(trials["box"][trial][row]) for trial in first]
        further = [str(trials["box"][trial][row]) for trial in beyond if row in trials["box"][trial]]
        assert len({*tried, *further}) == 6 + len(further), row
        assert str(chosen[row]) in [*tried, *further], row
    assert trials.get("given") == run.get("given")


@pytest.mark.parametrize("name", WORK)
def test_what_refuses_a_run_is_the_largest_budget_that_it_is_read_within(name: str) -> None:
    content = said(name)
    sizes = {parse_size(each["memory_budget"]["size"]) for each in (content, said(f"tuning/{name}"))}
    assert sizes == {int(budgets(content["experiment"])[-1])}
    assert len(budgets(content["experiment"])) == 3


@pytest.mark.parametrize("name", [*WORK, "kb256"])
def test_a_comparison_is_under_the_protocol(name: str) -> None:
    (comparison,) = [one for one in comparisons() if one.name == f"shelf/{name}"]
    assert (comparison.recorded, comparison.tuning) == (said(name)["experiment"], said(f"tuning/{name}")["experiment"])
    seeds = said(name)["hydra"]["sweeper"]["params"]["seed"]
    assert ",".join(map(str, comparison.run_seeds)) == seeds
    assert comparison.trials == 6


def test_updates_within_256_kib_are_all_as_long() -> None:
    runs = plan(["experiments=shelf/kb256", "seed=0", "profile=paper"])
    assert len({str(run.config["training"]) for run in runs}) == 1
    assert {run.config["memory_budget"]["name"] for run in runs} == {"mcu_256kib_sram_1mib_flash"}
