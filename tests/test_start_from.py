"""A run starts from the weights of another, and its key says which weights they were."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tightfit.records.record import read_evals, read_run
from tightfit.run.keys import run_key
from tightfit.run.session import carry_out
from tightfit.run.start import named
from tightfit.use.packing import write_model
from tightfit.use.trained import load

from .killing import killed_at_second_checkpoint
from .test_boolean_labels import own_file
from .test_language_runs import METHODS, optimizer, tiny_llama
from .test_session import config
from .use.runs import LORA

STILL = {**config(Path())["optimizer"], "lr": 0.0}


def ended(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def test_a_run_begins_where_the_other_ended(tmp_path: Path) -> None:
    first = carry_out(config(tmp_path)).folder
    second = carry_out(config(tmp_path, optimizer=STILL, start_from=named(str(first)))).folder
    assert ended(second)["model"]["initial_weights_sha256"] == ended(first)["summary"]["weights_sha256"]
    assert read_evals(second)[0]["test_loss"] == read_evals(first)[-1]["test_loss"]


def test_a_key_names_a_run_as_its_folder_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = carry_out(config(tmp_path)).folder
    monkeypatch.setenv("TIGHTFIT_RUNS", str(tmp_path))
    assert named(first.name)["sha256"] == named(str(first))["sha256"] == ended(first)["summary"]["weights_sha256"]


def test_a_folder_that_a_run_was_exported_to_is_as_good(tmp_path: Path) -> None:
    first = carry_out(config(tmp_path)).folder
    write_model(load(first), "safetensors", tmp_path / "out")
    second = carry_out(config(tmp_path, optimizer=STILL, start_from=named(str(tmp_path / "out")))).folder
    assert ended(second)["model"]["initial_weights_sha256"] == ended(first)["summary"]["weights_sha256"]


@pytest.mark.parametrize("first_has", [False, True])
def test_an_adapter_goes_on_or_is_put_into_what_was_trained_whole(first_has: bool, tmp_path: Path) -> None:
    method = optimizer("bp_adam")
    settings = {"model": tiny_llama(), "optimizer": method}
    first = carry_out(own_file(tmp_path, **settings, **({"adapter": LORA} if first_has else {}))).folder
    still = {**METHODS["bp_sgd"], "name": "bp_sgd", "lr": 0.0}
    again = own_file(tmp_path, **{**settings, "optimizer": still}, adapter=LORA, start_from=named(str(first)))
    second = carry_out(again).folder
    # An update that is new changes nothing; sums are in one order, so the losses are the same bits.
    assert read_evals(second)[0]["test_loss"] == read_evals(first)[-1]["test_loss"]


def test_a_killed_run_resumes_from_its_checkpoint_and_not_from_the_start(tmp_path: Path) -> None:
    start = named(str(carry_out(config(tmp_path)).folder))
    whole = ended(carry_out(config(tmp_path / "whole", start_from=start, seed=1)).folder)
    with killed_at_second_checkpoint():
        carry_out(config(tmp_path / "killed", start_from=start, seed=1))
    resumed = ended(carry_out(config(tmp_path / "killed", start_from=start, seed=1)).folder)
    assert resumed["summary"]["weights_sha256"] == whole["summary"]["weights_sha256"]


def test_other_weights_in_the_same_place_are_another_run(tmp_path: Path) -> None:
    first = carry_out(config(tmp_path)).folder
    write_model(load(first), "safetensors", tmp_path / "out")
    before = config(tmp_path, start_from=named(str(tmp_path / "out")))
    write_model(load(carry_out(config(tmp_path, seed=1)).folder), "safetensors", tmp_path / "out")
    after = config(tmp_path, start_from=named(str(tmp_path / "out")))
    assert run_key(before) != run_key(after)
    record = read_run(carry_out(before).folder)
    assert record is not None
    assert record.status == "failed"
    assert "holds other weights (sha256 " in record.reason


def test_what_nothing_can_start_from_is_told(tmp_path: Path) -> None:
    def refused(name: Path, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            named(str(name))

    (tmp_path / "empty").mkdir()
    refused(tmp_path / "gone", r"start_from=.*gone is no folder, and 0 runs in .* have that key; name the folder")
    refused(tmp_path / "empty", r"holds neither a run nor model.safetensors; write one by tightfit export")
    budget = {"_target_": "tightfit.memory.budget.MemoryBudget", "name": "custom", "size": "1KB"}
    refused(carry_out(config(tmp_path, memory_budget=budget)).folder, "is a run that ended as over_budget; name one")


def test_weights_that_do_not_fit_are_told(tmp_path: Path) -> None:
    start = named(str(carry_out(config(tmp_path)).folder))
    for changes, message in (
        ({"model": tiny_llama()}, "holds weights of another model or adapter (such as "),
        ({"pretraining": {"training": {"epochs": 1}}}, "and pretraining both say what to start from; leave one out"),
    ):
        made = own_file if "model" in changes else config
        record = read_run(carry_out(made(tmp_path, start_from=start, **changes)).folder)
        assert record is not None
        assert record.status == "failed"
        assert message in record.reason


def test_a_file_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    first = carry_out(config(tmp_path)).folder
    start = named(str(first))
    (tmp_path / "ran").write_text("")
    torch.save({"weight": Evil(tmp_path / "ran")}, first / "weights.pt")
    record = read_run(carry_out(config(tmp_path, start_from=start)).folder)
    assert record is not None
    assert (record.status, "weights.pt is damaged" in record.reason) == ("failed", True)
    assert (tmp_path / "ran").exists()


class Evil:
    """Deletes a file when it is unpickled by pickle's rules."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.remove, (str(self.path),)
