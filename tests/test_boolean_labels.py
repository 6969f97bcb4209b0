"""Files with labels that are true and false, as BoolQ and WiC have: every command takes the run that they gave."""

import json
from pathlib import Path
from typing import Any

import pytest

from tightfit.program.export import prepared
from tightfit.records.record import read_run
from tightfit.run.gain import gain
from tightfit.run.replay import rebuild
from tightfit.run.session import carry_out

from .killing import killed_at_second_checkpoint
from .on_device.test_programs import ADAPTER, P_RGE
from .test_language_runs import optimizer, text_config, tiny_llama

LENGTHS = {"epochs": 2, "evaluations": 2, "batch_size": 16}
LABELS: dict[str, tuple[Any, Any]] = {"booleans": (False, True), "numbers": (0, 1), "points": (1.0, 2.5)}


def own_file(folder: Path, kind: str = "booleans", **changes: Any) -> dict[str, Any]:
    labels = LABELS[kind]
    path = folder / "val.jsonl"
    rows = [{"question": f"is word{row % 7} word{row}", "label": labels[row % 2]} for row in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = {
        "_target_": "tightfit.datasets.text_file.text_file",
        "name": "text_file",
        "path": str(path),
        "text": "question",
        "label": "label",
        "template": "{text}? {label}",
        "verbalizers": dict(zip(labels, ("No", "Yes"), strict=True)),
        "train_size": None,
        "validation_size": 4,
        "test_size": None,
    }
    return text_config(folder / "runs", **{"dataset": dataset, "training": LENGTHS, **changes})


@pytest.mark.parametrize("kind", LABELS)
def test_a_finished_run_is_recognised_and_scored_again(kind: str, tmp_path: Path) -> None:
    first = carry_out(own_file(tmp_path, kind))
    again = carry_out(own_file(tmp_path, kind))
    assert (first.status, again.status, again.folder) == ("finished", "finished", first.folder)
    record, found = gain(first.folder)
    assert found.after == round(record.summary["final_accuracy"] * found.examples)


def test_a_killed_run_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    expected = read_run(carry_out(own_file(whole, optimizer=optimizer("mezo"))).folder)
    with killed_at_second_checkpoint():
        carry_out(own_file(killed, optimizer=optimizer("mezo")))
    resumed = read_run(carry_out(own_file(killed, optimizer=optimizer("mezo"))).folder)
    assert expected is not None
    assert resumed is not None
    assert resumed.status == "finished"
    assert resumed.summary["weights_sha256"] == expected.summary["weights_sha256"]


def test_the_weights_are_rebuilt_from_the_losses_alone(tmp_path: Path) -> None:
    training = {**LENGTHS, "keep": "losses"}
    rebuild(carry_out(own_file(tmp_path, optimizer=optimizer("mezo"), training=training)).folder)


def test_a_program_of_the_training_can_be_prepared(tmp_path: Path) -> None:
    model = tiny_llama()
    model["settings"] = {**model["settings"], "num_hidden_layers": 1}
    folder = carry_out(own_file(tmp_path, model=model, optimizer=P_RGE, adapter=ADAPTER)).folder
    _, _, run = prepared(folder)
    assert run.task.dataset.details["verbalizers"] == ["No", "Yes"]
