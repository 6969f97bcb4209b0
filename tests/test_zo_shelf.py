"""What the shelf's experiments promise: equal work for every row, as the method itself says what a step costs."""

from __future__ import annotations

from typing import Any

import pytest

from tightfit.launch.reproduce import plan
from tightfit.memory.table import LayerTable, layer_table
from tightfit.models.lenet5 import lenet5
from tightfit.optimizers.mezo import MeZO
from tightfit.run.parts import build, without_descriptions

WORK = {"lenet5": (30_000, 60_000), "minilm_l6": (480, 2_000), "smollm2_135m": (480, 2_000)}  # passes, and examples
PARTS = 10_000  # of a run, in which the directions of a step are counted
TABLE = layer_table(lenet5(10, seed=0), (1, 28, 28))


def passes_of_a_step(config: dict[str, Any], table: LayerTable = TABLE) -> float:
    """By the method's own cost; of one with more directions as training goes on, the mean."""
    training = config["training"]
    method = build(without_descriptions(config["optimizer"]))
    cost = method.cost(table, training["batch_size"])
    passes = cost.forward + cost.backward
    if isinstance(method, MeZO) and not method.steady:
        epochs = (training["epochs"] * (part + 0.5) / PARTS for part in range(PARTS))
        passes *= sum(map(method.queries_at, epochs)) / PARTS / method.queries
    return passes


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("folder", ["", "tuning/"])
def test_every_row_does_the_same_work(name: str, folder: str) -> None:
    passes, examples = WORK[name]
    words = [f"experiments=zo_shelf/{folder}{name}", f"seed={100 if folder else 0}", "profile=paper"]
    runs = plan([*words, *(["trial=t1"] if folder else [])])
    assert len({run.config["cell"]["row"] for run in runs}) == len(runs)
    for run in runs:
        training = run.config["training"]
        steps = training["epochs"] * (examples // training["batch_size"])
        assert steps * passes_of_a_step(run.config) == pytest.approx(passes, rel=2e-3), run.config["cell"]["row"]


@pytest.mark.parametrize("name", WORK)
def test_trials_are_of_the_rows_that_are_run_and_six_for_each(name: str) -> None:
    trials, runs = (plan([f"experiments=zo_shelf/{each}"]) for each in (f"tuning/{name}", name))
    rows = [run.config["cell"]["row"] for run in trials]
    assert {row: rows.count(row) for row in rows} == {run.config["cell"]["row"]: 6 for run in runs}
    assert len({run.folder for run in trials}) == len(trials)
    assert {run.config["dataset"]["scored"] for run in trials if "scored" in run.config["dataset"]} <= {"validation"}
