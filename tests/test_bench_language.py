"""What the bench writes down; how long steps take is no test."""

import csv
from pathlib import Path

import pytest
import torch

from tightfit.bench import language as bench_language
from tightfit.bench.__main__ import main
from tightfit.bench.evidence import append
from tightfit.bench.language import Shape, Workload, measure, recorded
from tightfit.commands.words import WrongWords
from tightfit.records.places import EXPERIMENTS

TINY = Workload("tiny", sequences=2, length=3)
ROW = {
    "step": "a step",
    "ratio": 1.1234567,
    "ratio_low": 1.0,
    "ratio_high": 1.2,
    "seconds": 0.5,
    "pairs": 7,
    "peak": 1.01,
}


def test_every_step_is_measured_on_any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench_language.SHAPES, "tiny", Shape(64, 1, 2, 1, 64))
    monkeypatch.setattr(bench_language, "VOCABULARY", 1500)
    rows = list(measure(TINY))
    peaks = {row["step"]: row["peak"] for row in rows}
    assert 1 <= peaks["rademacher, fused"] < 1.05 < peaks["four draws out of place, as published"]
    assert all(0 < row["ratio_low"] <= row["ratio"] <= row["ratio_high"] for row in rows)


def test_a_record_grows_and_names_its_evidence(tmp_path: Path) -> None:
    path = tmp_path / "results" / "steps.csv"
    append(str(path), recorded(TINY, [ROW, ROW]))
    append(str(path), recorded(Workload("tiny", 4, 8, torch.bfloat16), [ROW]))
    first, _, last = csv.DictReader(path.read_text().splitlines())
    assert (first["model"], first["sequences"], first["dtype"], first["ratio"]) == ("tiny", "2", "float32", "1.12346")
    assert (last["length"], last["dtype"], last["pairs"]) == ("8", "bfloat16", "7")
    assert all(last[name] for name in ("load", "dirty", "cpu", "threads", "torch", "measured_at"))


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    path.write_text("model,seconds\n")
    with pytest.raises(
        WrongWords, match=r"csv: .*steps\.csv has other columns than a row of the bench .model, .*name another file"
    ):
        append(str(path), recorded(TINY, [ROW]))
    assert path.read_text() == "model,seconds\n"


def test_the_record_that_is_committed_can_be_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "language.csv"
    path.write_text((EXPERIMENTS / "step_cost" / "results" / "language.csv").read_text())
    append(str(path), recorded(TINY, [ROW]))
    assert len(path.read_text().splitlines()) > 100


def test_a_title_that_no_table_has_is_refused(capsys: pytest.CaptureFixture) -> None:
    assert main(["part=language", "--only", "7B"]) == 2
    assert "only=7B is in no title; choose a part of one of: 55M, 1 × 64 tokens, float32" in capsys.readouterr().err
