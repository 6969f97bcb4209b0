"""Metrics by the book's equations, computed from answers one by one; and runs that record, show and choose by them."""

import errno
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tightfit.commands import main
from tightfit.records.record import read_evals
from tightfit.run.checkpoint import load
from tightfit.run.metrics import METRICS, Score
from tightfit.run.session import carry_out

from .killing import killed_at_second_checkpoint
from .test_language_runs import SENTENCES, text_config
from .test_session import config

PAIRS = st.integers(2, 4).flatmap(
    lambda c: st.tuples(st.just(c), st.lists(st.tuples(*[st.integers(0, c - 1)] * 2), min_size=1))
)


def score_of(classes: int, pairs: list[tuple[int, int]]) -> Score:
    return Score([[pairs.count((own, said)) for said in range(classes)] for own in range(classes)], 0.0)


@given(PAIRS)
def test_metrics_are_those_of_the_answers_one_by_one(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    classes, pairs = drawn
    score = score_of(classes, pairs)
    assert score.accuracy == sum(own == said for own, said in pairs) / len(pairs)
    f1 = []
    for each in range(classes):
        hits = sum(own == said == each for own, said in pairs)
        own, said = (sum(pair[side] == each for pair in pairs) for side in (0, 1))
        assert score.recall[each] == (hits / own if own else None)
        if own or said:
            precision, recall = (hits / count if count else 0.0 for count in (said, own))
            f1.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    assert score.macro_f1 == pytest.approx(sum(f1) / len(f1), rel=1e-12)  # another order of roundings
    # Pearson's correlation of one-hot answers and classes, summed over classes: Gorodkin's definition.
    hot = [torch.nn.functional.one_hot(torch.tensor(side), classes).double() for side in zip(*pairs, strict=True)]
    centred = [side - side.mean(dim=0) for side in hot]
    spreads = [float((side * side).sum()) for side in centred]
    expected = (
        float((centred[0] * centred[1]).sum()) / math.sqrt(spreads[0] * spreads[1])
        if all(len(set(side)) > 1 for side in zip(*pairs, strict=True))
        else 0.0
    )
    assert score.matthews == pytest.approx(expected, abs=1e-9)


def ended(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def test_a_run_records_and_shows_them_beside_accuracy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = {**SENTENCES, "verbalizers": ["terrible", "great"]}
    training = {"epochs": 2, "evaluations": 2, "metric": "matthews"}
    folder = carry_out(text_config(tmp_path, dataset=dataset, training=training)).folder
    shown = capsys.readouterr().out.splitlines()
    last, summary = read_evals(folder)[-1], ended(folder)["summary"]
    for metric in (*METRICS, "recall"):
        assert summary[f"final_{metric}"] == last[f"test_{metric}"]
    assert f"macro F1 {summary['final_macro_f1']:.3f}, Matthews {summary['final_matthews']:.3f}" in shown[-1]
    assert f", matthews {summary['final_matthews']:.3f} after" in shown[-2]
    # Two classes of equal size: accuracy is the mean of the recalls.
    assert summary["final_accuracy"] == pytest.approx(sum(last["test_recall"]) / 2)
    assert main(["score", f"run={folder}", "trust=true"]) == 0
    told = capsys.readouterr().out
    assert f"Matthews {summary['final_matthews']:.3f}, recall: " in told


def test_an_unknown_metric_is_told() -> None:
    from tightfit.run.task import Training

    with pytest.raises(ValueError, match=r"training.metric='f1' is not known; choose accuracy, macro_f1, matthews"):
        Training(epochs=1, metric="f1")


# A rate at which accuracy falls again after it has risen, so that the best evaluation is none of the ends.
SHAKY = {"optimizer": {**config(Path())["optimizer"], "lr": 0.6}}


def failing(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def held_out(runs: Path, **training: Any) -> dict[str, Any]:
    dataset = {**SENTENCES, "scored": "validation"}
    plan = {"epochs": 6, "evaluations": 6, "batch_size": 16, **training}
    return text_config(runs, dataset=dataset, training=plan, **SHAKY)


def test_the_weights_of_the_best_evaluation_are_kept(tmp_path: Path) -> None:
    folder = carry_out(held_out(tmp_path, keep="best")).folder
    summary, rows = ended(folder)["summary"], read_evals(folder)
    best = max(range(len(rows)), key=lambda place: rows[place]["validation_accuracy"])  # the first of equal ones
    assert 0 < best < len(rows) - 1  # the case is not trivial
    assert summary["kept_step"] == rows[best]["step"]
    assert not list(folder.glob("best_*"))
    # A run that ends at that evaluation keeps the same weights.
    share = rows[best]["step"] / rows[-1]["step"]
    short = carry_out(held_out(tmp_path / "short", epochs=6 * share, evaluations=best)).folder
    assert ended(short)["summary"]["weights_sha256"] == summary["weights_sha256"]


def test_a_killed_run_keeps_the_same_weights(tmp_path: Path) -> None:
    whole = carry_out(held_out(tmp_path / "whole", keep="best")).folder
    with killed_at_second_checkpoint():
        carry_out(held_out(tmp_path / "killed", keep="best"))
    killed = carry_out(held_out(tmp_path / "killed", keep="best")).folder
    assert ended(killed)["summary"]["weights_sha256"] == ended(whole)["summary"]["weights_sha256"]
    assert load(killed / "weights.pt") is not None


def test_best_weights_that_are_not_those_kept_are_refused_and_the_file_named(tmp_path: Path) -> None:
    with killed_at_second_checkpoint() as saves:
        carry_out(held_out(tmp_path, keep="best"))
    kept = max(saves[0].parent.glob("best_*.pt"), key=lambda path: path.stat().st_mtime_ns)
    content = kept.read_bytes()
    middle = len(content) // 2
    kept.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    saves[0].parent.joinpath("best_999.pt").mkdir()  # which is not the best, and cannot be deleted as a file
    outcome = carry_out(held_out(tmp_path, keep="best"))
    assert re.search(r"best_999.pt cannot be deleted .*; delete best_999.pt yourself and run again", outcome.reason)
    saves[0].parent.joinpath("best_999.pt").rmdir()
    outcome = carry_out(held_out(tmp_path, keep="best"))
    assert outcome.status == "failed"
    assert re.search(rf"{kept.name} (holds other weights|is damaged).*; put the file back", outcome.reason)
    kept.write_bytes(content)
    assert carry_out(held_out(tmp_path, keep="best")).status == "finished"
    assert not list(kept.parent.glob("best_*"))


def test_what_a_run_needed_and_could_not_delete_at_its_end_is_deleted_when_it_is_met_again(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tightfit.run.checkpoint.clear_ended", failing(OSError(errno.EIO, "Input/output error")))
        outcome = carry_out(held_out(tmp_path, keep="best"))
    assert outcome.status == ended(outcome.folder)["status"] == "finished"
    assert list(outcome.folder.glob("best_*"))
    assert carry_out(held_out(tmp_path, keep="best")).status == "finished"
    assert {path.name for path in outcome.folder.glob("*.pt")} == {"weights.pt"}


def test_what_is_scored_as_a_test_does_not_choose(tmp_path: Path) -> None:
    outcome = carry_out(config(tmp_path, training={"epochs": 1, "evaluations": 1, "keep": "best"}))
    assert outcome.status == "failed"
    assert re.search(r"keep=best would choose by the test split, .* score validation examples", outcome.reason)
