"""What training gained is counted on the same examples before and after."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from tightfit.commands.words import TRUST
from tightfit.records.record import read_evals
from tightfit.run import checkpoint
from tightfit.run.checkpoint import WEIGHTS
from tightfit.run.gain import Gain, gain, main
from tightfit.run.session import carry_out

from .test_replay import MEZO
from .test_session import config

LENGTHS = {"epochs": 4, "evaluations": 4, "batch_size": 16}


@pytest.mark.parametrize("keep", ["weights", "losses"])
def test_before_and_after_are_the_first_and_the_last_evaluation(keep: str, tmp_path: Path) -> None:
    folder = carry_out(config(tmp_path, optimizer=MEZO, training={**LENGTHS, "keep": keep})).folder
    _, found = gain(folder)
    accuracies = [row["test_accuracy"] for row in read_evals(folder)]
    assert (found.before / found.examples, found.after / found.examples) == (accuracies[0], accuracies[-1])
    assert found.after - found.before == found.gained - found.lost


def test_the_interval_is_that_of_the_mean_of_single_differences() -> None:
    found = Gain(examples=100, before=60, after=68, gained=11, lost=3)
    each = torch.tensor([1.0] * 11 + [-1.0] * 3 + [0.0] * 86, dtype=torch.float64)
    half = 1.959964 * each.std(correction=0).item() / 10
    assert found.difference == pytest.approx(0.08)
    assert found.interval == pytest.approx((0.08 - half, 0.08 + half))


def test_numbers_are_shown_and_appended_and_a_bad_folder_stops_no_other(tmp_path: Path, capsys) -> None:
    folder, path = carry_out(config(tmp_path)).folder, tmp_path / "gains.csv"
    assert main([str(tmp_path / "nowhere"), str(folder), TRUST, "--csv", str(path)]) == 2
    (line,) = csv.DictReader(path.read_text().splitlines())
    assert int(line["after"]) - int(line["before"]) == int(line["gained"]) - int(line["lost"])
    shown = capsys.readouterr()
    assert "nowhere holds no run that finished; name the folder of one" in shown.err
    assert f"{int(line['after']) / int(line['examples']):.2%}" in shown.out


def test_other_weights_than_those_on_record_are_refused(tmp_path: Path) -> None:
    folder = carry_out(config(tmp_path)).folder
    weights = checkpoint.load(folder / WEIGHTS)
    assert weights is not None
    checkpoint.save(folder / WEIGHTS, {name: tensor + 1 for name, tensor in weights.items()})
    with pytest.raises(
        ValueError, match=r"weights\.pt holds other weights than the run left there; put the file back, or"
    ):
        gain(folder)


@pytest.mark.parametrize("weights", [{"fc1.weight": torch.zeros(2)}, [1]], ids=["other shapes", "no weights"])
def test_weights_of_another_model_are_told_in_one_line_and_stop_no_other_folder(
    weights: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (carry_out(config(tmp_path, seed=seed)).folder for seed in (0, 1))
    checkpoint.save(first / WEIGHTS, weights)
    capsys.readouterr()
    assert main([str(first), str(second), TRUST]) == 1
    told = capsys.readouterr()
    assert told.err.startswith(f"ValueError: {first / WEIGHTS} holds weights of another model; put the file back")
    assert told.err.count("\n") == 1
    assert "bp_sgd" in told.out


def test_weights_that_are_gone_are_told(tmp_path: Path) -> None:
    folder = carry_out(config(tmp_path)).folder
    (folder / WEIGHTS).unlink()
    with pytest.raises(ValueError, match=r"weights\.pt is gone; put the file back, or delete the folder"):
        gain(folder)
