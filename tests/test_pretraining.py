"""Pretraining: made once, shared, and its weights trusted only as they are on record."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.rewritten import rewritten
from tightfit.records.record import read_evals, read_run
from tightfit.run import checkpoint
from tightfit.run.session import carry_out

from .killing import killed_at_second_checkpoint
from .test_session import MEZO, config

PRETRAINING = {
    "optimizer": {
        "_target_": "tightfit.optimizers.bp.Backprop",
        "rule": {"_target_": "tightfit.optimizers.rules.adam.Adam"},
        "name": "bp_adam",
        "lr": 0.003,
    },
    "training": {"epochs": 1, "evaluations": 1, "batch_size": 16},
}


def test_pretraining_is_run_once_and_its_weights_are_the_start(tmp_path: Path) -> None:
    pretraining = {**PRETRAINING, "training": {"epochs": 10, "evaluations": 1, "batch_size": 16}}
    first = carry_out(config(tmp_path, pretraining=pretraining))
    carry_out(config(tmp_path, pretraining=pretraining, training={"epochs": 1, "evaluations": 1, "batch_size": 16}))
    (pretrained,) = (tmp_path / "pretraining").iterdir()
    end_of_pretraining = read_evals(pretrained)[-1]
    assert read_evals(first.folder)[0]["test_loss"] == end_of_pretraining["test_loss"]


def test_failed_pretraining_fails_the_run_that_needs_it(tmp_path: Path) -> None:
    pretraining = {
        "optimizer": {
            "_target_": "tightfit.optimizers.bp.Backprop",
            "name": "bp_sgd",
            "rule": {"_target_": "tightfit.optimizers.rules.sgd.SGD"},
            "lr": 1e30,
        }
    }
    outcome = carry_out(config(tmp_path, pretraining=pretraining))
    record = read_run(outcome.folder)
    assert record is not None
    assert record.status == "failed"
    assert "pretraining ended as diverged" in record.reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "is gone"),
        (lambda path: path.write_bytes(path.read_bytes()[:500]), "is damaged"),
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b"fc1.weight", b"fc9.weight")),
            "holds weights of another model",
        ),
        (lambda path: checkpoint.save(path, {"fc1.weight": torch.zeros(2)}), "holds weights of another model"),
        (lambda path: checkpoint.save(path, [1]), "holds weights of another model"),
        (lambda path: flip_a_bit(path), "holds other weights than the run left there"),
    ],
    ids=["gone", "cut", "renamed", "other shapes", "no weights", "flipped"],
)
def test_pretrained_weights_that_are_not_those_on_record_are_made_again_beside_the_record(
    change: Callable[[Path], object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carry_out(config(tmp_path, pretraining=PRETRAINING))
    (weights,) = (tmp_path / "pretraining").glob("*/weights.pt")
    record, content = (weights.parent / "run.json").read_bytes(), weights.read_bytes()
    change(weights)
    outcome = carry_out(config(tmp_path, pretraining=PRETRAINING, optimizer=MEZO))
    assert outcome.status == "finished"
    assert re.search(rf"weights.pt ({message}).*; pretraining again \(\d+ s\)", capsys.readouterr().out)
    assert weights.read_bytes() == content
    assert (weights.parent / "run.json").read_bytes() == record
    assert not (weights.parent / "again").exists()


def test_pretraining_that_ends_with_other_weights_than_those_on_record_is_no_replacement(tmp_path: Path) -> None:
    carry_out(config(tmp_path, pretraining=PRETRAINING))
    (weights,) = (tmp_path / "pretraining").glob("*/weights.pt")
    with rewritten(weights.parent) as content:
        content["summary"]["weights_sha256"] = "3" * 64  # as of another machine
    for _ in range(2):
        outcome = carry_out(config(tmp_path, pretraining=PRETRAINING, optimizer=MEZO))
        assert outcome.status == "failed"
        assert re.search(
            r"again ended with weights of sha256 \w+…, not 3+… as on record.* or move .* away", outcome.reason
        )
    assert json.loads((weights.parent / "run.json").read_text()) == content


def test_pretraining_that_is_made_again_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    longer = {**PRETRAINING, "training": {"epochs": 4, "evaluations": 4, "batch_size": 16}}
    carry_out(config(tmp_path, pretraining=longer))
    (weights,) = (tmp_path / "pretraining").glob("*/weights.pt")
    content = weights.read_bytes()
    weights.unlink()
    with killed_at_second_checkpoint():
        carry_out(config(tmp_path, pretraining=longer, optimizer=MEZO))
    outcome = carry_out(config(tmp_path, pretraining=longer, optimizer=MEZO))
    assert outcome.status == "finished"
    assert weights.read_bytes() == content


def flip_a_bit(path: Path) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
