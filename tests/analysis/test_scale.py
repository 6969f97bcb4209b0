"""The work of loading and reporting grows as the runs do; how long it takes is measured by the bench alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.made_up import make_up
from analysis.report import answer, make
from analysis.report.own import load_own, study_of
from tightfit.bench import load
from tightfit.bench.__main__ import main


def reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that loading `folder` reads, each as often as it is read."""
    found: list[Path] = []
    with monkeypatch.context() as patch:
        read = Path.read_bytes
        patch.setattr(Path, "read_bytes", lambda path: (found.append(path), read(path))[1])
        load_own(folder)
    return found


def test_every_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_up(tmp_path, runs=12, evaluations=3)
    found = reads(tmp_path, monkeypatch)
    assert sorted(found) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(found) == 24


def test_made_up_runs_are_whole(tmp_path: Path) -> None:
    make_up(tmp_path, runs=30, evaluations=4)
    records = load_own(tmp_path)
    assert (len(records.runs), len(records.evals)) == (30, 120)
    groups = study_of(records, "optimizer", "train_seconds", "memory_budget").groups
    assert [one.final.n for one in groups if one.final] == [10, 10, 10]


def test_the_first_page_has_no_more_bytes_a_run_as_runs_grow(tmp_path: Path) -> None:
    sizes = {}
    for runs in (80, 160):
        make_up(tmp_path / str(runs), runs, evaluations=3)
        sizes[runs] = make(tmp_path / f"report {runs}", load_own(tmp_path / str(runs))).stat().st_size
    assert sizes[160] / 160 <= sizes[80] / 80


def test_a_picture_has_the_most_accurate_courses_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "MOST_COURSES", 2)
    make_up(tmp_path, runs=40, evaluations=3)
    study = study_of(load_own(tmp_path), "optimizer", "train_seconds", "memory_budget")
    best = sorted((one for one in study.groups), key=answer.accuracy, reverse=True)
    drawn = answer.courses(study, study.groups, "")
    assert [f"<title>{one.name}</title>" in drawn for one in best] == [True, True, False, False]


def test_the_bench_has_a_line_for_each_number_of_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(load, "SIZES", (2, 4))
    assert main(["part=load"]) == 0
    assert "most memory" in capsys.readouterr().out
