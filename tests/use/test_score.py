"""Finished runs are scored, on their own data and on others; and what `score`, `predict` and `export` refuse."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_session import config
from tightfit.records.record import read_run
from tightfit.run.metrics import Score
from tightfit.run.session import carry_out
from tightfit.use.score import Scored

from .runs import trained


def test_the_data_of_the_run_are_scored_as_the_run_scored_them(tmp_path: Path, call: Callable) -> None:
    for folder in (trained(tmp_path), carry_out(config(tmp_path / "images")).folder):
        record = read_run(folder)
        assert record is not None
        code, told = call("score", f"run={folder}", "trust=true")
        assert code == 0, told
        size = sum(record.dataset["scored_counts"])
        assert f"accuracy {record.summary['final_accuracy']:.2%} of {size} (95" in told
        assert f"loss {record.summary['final_loss']:.4f};" in told


def test_other_settings_of_the_data_are_scored(tmp_path: Path, call: Callable) -> None:
    folder = trained(tmp_path)
    assert "text_file, validation: accuracy" in call("score", f"run={folder}", "dataset.scored=validation")[1]
    code, told = call("score", f"run={folder}", "dataset.verbalizers={false: No, true: Perhaps}")
    assert (code, "has 2 classes that are not the 2 of the run; choose data" in told) == (1, True)


def test_an_interval_is_wilsons() -> None:
    low, high = Scored("", (), Score([[45, 5], [0, 0]], 0.0)).interval
    # Each end is where the accuracy lies 1.96 standard deviations of that end away.
    for end in (low, high):
        assert abs(0.9 - end) == pytest.approx(1.959964 * (end * (1 - end) / 50) ** 0.5)
    assert Scored("", (), Score([[10, 0], [0, 0]], 0.0)).interval[1] == pytest.approx(1)


WRONG = {
    "predict run={run}": "predict answers one text or a file of them; write text=… or file=…",
    "predict run={run} text=a file=b.txt": "predict answers one text or a file of them; write text=… or file=…",
    "predict run=0123456789ab text=a": "run=0123456789ab is no folder, and 0 runs in",
    "predict run={tmp} text=a": "holds no run that finished; name the folder or the key of one",
    "score run={run} seed=3": "seed=3 is nothing that a score takes; it has run, file, trust and dataset…=…",
    "score run={run} file=a.tsv dataset=mnist": "file=a.tsv and dataset=mnist both name data; leave one out",
    "score run={run} dataset.scored=test,validation": "dataset.scored=test,validation is not one value; give one",
    "export run={run} format=peft": "the run trained no low-rank updates; choose format=huggingface",
}


@pytest.mark.parametrize(("line", "message"), WRONG.items())
def test_wrong_words_are_told(line: str, message: str, tmp_path: Path, call: Callable) -> None:
    folder = trained(tmp_path)
    code, told = call(*(word.format(run=folder, tmp=tmp_path) for word in line.split()))
    assert message in told
    assert (code, told.count("\n")) == (2, 1)
