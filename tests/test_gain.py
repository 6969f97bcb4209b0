"""What training gained is counted on the same examples before and after."""

import csv
from pathlib import Path

import pytest
import torch

from tightfit import checkpoint
from tightfit.gain import Gain, gain, main
from tightfit.records import read_evals
from tightfit.runner import WEIGHTS
from tightfit.session import carry_out

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
    assert main([str(tmp_path / "nowhere"), str(folder), "--csv", str(path)]) == 1
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
    with pytest.raises(ValueError, match=r"weights\.pt holds other weights than the run ended with; run it anew"):
        gain(folder)
