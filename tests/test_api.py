"""Runs from Python: the example in the documentation, models and data given as objects, and what comes back."""

import doctest
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from torch import nn

import tightfit
from tightfit.records.places import HOME
from tightfit.records.record import read_evals
from tightfit.run.checkpoint import weights_digest
from tightfit.use import api

SHORT = {"training.epochs": 3, "training.evaluations": 3, "training.batch_size": 16}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    GlobalHydra.instance().clear()


def examples(count: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))
    return inputs, (inputs[:, 0] > 0).long()


def net(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def trained(**changes: Any) -> tightfit.Result:
    words = {"model": net(), "data": examples(), "optimizer": "bp_sgd", "quiet": True, "settings": SHORT}
    return tightfit.train(**{**words, **changes})


def test_importing_it_waits_for_no_library() -> None:
    code = "import sys, tightfit; print(tightfit.__version__, *sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == tightfit.__version__
    assert not {"torch", "hydra", "omegaconf", "numpy", "rich", "tightfit.use.api"} & set(said)


def test_what_it_does_not_have_it_says() -> None:
    with pytest.raises(AttributeError, match="module 'tightfit' has no attribute 'trian'"):
        tightfit.trian  # noqa: B018


def test_the_example_in_the_documentation_runs() -> None:
    failed, tried = doctest.testmod(api)
    assert tried > 5
    assert failed == 0


PRINTED = re.compile(r"```python\n(.*?)```", re.DOTALL)
BLOCKS = {
    f"{page.relative_to(HOME)}, {number}": block
    for page in (HOME / "README.md", HOME / "CONTRIBUTING.md", *sorted((HOME / "docs").rglob("*.md")))
    for number, block in enumerate(PRINTED.findall(page.read_text()), 1)
}


@pytest.mark.parametrize("page", BLOCKS)
def test_what_the_pages_print_of_python_runs(page: str) -> None:
    """As it stands, of a fraction of a second; what it calls the reader's own is made here."""
    inputs, labels = examples()
    named: dict[str, Any] = {"net": net(), "inputs": inputs, "labels": labels, "new_inputs": inputs[:3]}
    exec(BLOCKS[page].replace("seconds=60", "seconds=0.2, quiet=True"), named)
    assert named["result"].status == "finished"
    assert named["result"].evaluations[-1]["train_seconds"] < 60


def test_the_pages_print_some_python() -> None:
    assert len(BLOCKS) > 1
    assert all("seconds=60" in block for block in BLOCKS.values())  # else the test above would train for long


def test_a_result_is_what_is_on_record(capsys: pytest.CaptureFixture[str]) -> None:
    result = trained()
    assert capsys.readouterr().out == ""
    rows = read_evals(result.folder)
    record = json.loads((result.folder / "run.json").read_text())
    assert (result.status, result.reason, result.evaluations) == ("finished", "", rows)
    assert result.curve == [(row["train_seconds"], row["test_accuracy"]) for row in rows]
    assert result.accuracy == record["summary"]["final_accuracy"] == rows[-1]["test_accuracy"]
    assert result.memory == record["memory"]
    assert weights_digest(result.model) == record["summary"]["weights_sha256"]
    assert result.weights.keys() == net().state_dict().keys()
    assert result.folder.parent == Path("runs/python")


def test_predictions_are_those_that_were_scored() -> None:
    inputs, labels = examples()
    parts = {"train": (inputs[:150], labels[:150]), "test": (inputs[150:], labels[150:])}
    result = trained(data=parts)
    right = sum(
        said == str(label) for said, label in zip(result.predict(inputs[150:]), labels[150:].tolist(), strict=True)
    )
    assert result.accuracy == right / 50


def test_a_model_that_is_given_stays_as_it_is() -> None:
    model = net()
    before = weights_digest(model)
    result = trained(model=model)
    assert weights_digest(model) == before == result.record.model["initial_weights_sha256"]
    assert weights_digest(result.model) != before


def test_the_same_is_read_again_and_anything_else_is_another_run() -> None:
    first = trained()
    assert trained().folder == first.folder
    inputs, labels = examples()
    others = [
        trained(model=net(seed=1)),
        trained(data=(inputs + 1, labels)),
        trained(data=(inputs, 1 - labels)),
        trained(seed=1),
        trained(settings={**SHORT, "optimizer.lr": 0.01}),
    ]
    assert len({result.folder for result in [first, *others]}) == 6


def test_arrays_tensors_and_splits_are_data() -> None:
    inputs, labels = examples()
    as_arrays = trained(data=(inputs.numpy(), labels.numpy()))
    assert as_arrays.folder == trained().folder
    parts = {"train": (inputs[:150], labels[:150]), "test": (inputs[150:], np.asarray(labels[150:]))}
    counts = trained(data=parts).record.dataset
    assert (sum(counts["train_counts"]), sum(counts["scored_counts"])) == (150, 50)


def test_names_are_options_of_a_run() -> None:
    settings = {**SHORT, "dataset.verbalizers": {False: "No", True: "Yes"}, "dataset.path": "mine.jsonl"}
    rows = ({"text": f"word{row % 7} {row}", "label": row % 2 == 0} for row in range(80))
    Path("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = trained(model="llama_tiny", data="text_file", settings={**settings, "dataset.validation_size": 4})
    assert result.status == "finished", result.reason
    assert result.record.dataset["labels"] == ["false", "true"]


def test_a_run_over_its_budget_is_a_result() -> None:
    result = trained(budget="100B")
    assert (result.status, result.accuracy, result.curve) == ("over_budget", None, [])
    assert "100 B" in result.reason


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "mezzo"}, "Could not find 'optimizer/mezzo'; write optimizer=mezo"),
        ({"optimizer": "mezo,bp_sgd"}, "several values with commas make a sweep; give one value here"),
        ({"budget": "12XB"}, "memory budget '12XB' is not a size"),
        ({"settings": {"optimizer.rate": 1}}, "optimizer.rate is no setting of Backprop"),
        ({"settings": {"training.epochs": -1}}, "training.epochs=-1 is no amount of training"),
        ({"data": {"train": examples(), "holdout": examples()}}, r"data\['holdout'\] is no pair for a split; give"),
        ({"data": {"train": examples()[0]}}, r"data\['train'\] is no pair for a split; give \(inputs, labels\)"),
        ({"data": (examples()[0], examples()[1][:-1])}, r"is \(200, 4\) but its labels are \(199,\); give each input"),
    ],
)
def test_what_cannot_be_meant_is_told(changes: dict[str, Any], message: str) -> None:
    try:
        result = trained(**changes)
    except ValueError as error:
        said = str(error)
    else:
        assert result.status == "failed"
        said = result.reason
    assert re.search(message, said)


def test_another_process_is_told_what_is_missing() -> None:
    folder = trained().folder
    done = subprocess.run(
        [sys.executable, "-m", "tightfit", "gain", str(folder), "trust=true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "given in Python; give " in done.stderr
