"""Accuracy over two settings of a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.page import Table
from analysis.report.answer import Study
from analysis.report.maps import html, maps, page, pair_of
from analysis.report.own import load_own, study_of
from tests.analysis.miniature import make_run
from tightfit.commands import main

PAIR = "optimizer.lr,optimizer.eps"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two rates by two sizes of a probe, two seeds each; of one pair both diverged, and one was not tried."""
    folder = tmp_path / "sweep"
    for lr, eps, final in ((1e-3, 1e-4, 0.8), (1e-2, 1e-4, 0.9), (1e-2, 1e-3, None)):
        for seed in (0, 1):
            optimizer = {"name": "mezo", "lr": lr, "eps": eps}
            scores, ended = [0.1, 0.5, (final or 0) + 0.01 * seed], {}
            if final is None:
                scores, ended = [0.1], {"status": "diverged", "reason": "loss is nan at step 312"}
            make_run(folder, "scratch", "full_zo", "x", scores, seed=seed, cell=None, optimizer=optimizer, **ended)
    return folder


@pytest.fixture
def study(sweep: Path) -> Study:
    return study_of(load_own(sweep), "optimizer", "train_seconds", "memory_budget")


def test_a_cell_is_the_mean_of_its_seeds_or_says_why_it_has_none(study: Study) -> None:
    (_, shown, _) = page(study, *pair_of(PAIR, study)).parts
    assert isinstance(shown, Table)
    assert shown.headings == (r"optimizer.eps \ optimizer.lr", "0.001", "0.01")
    assert shown.rows == (("0.0001", "80.50", "90.50"), ("0.001", "not tried", "diverged at step 312"))


def test_every_group_of_a_study_is_in_one_cell_of_one_map(study: Study) -> None:
    cells = [one for each in maps(study, *pair_of(PAIR, study)) for one in each.cells.values()]
    assert sorted(one.runs for one in cells) == sorted(one.runs for one in study.groups)


def test_what_else_differs_is_another_map(sweep: Path) -> None:
    optimizer = {"name": "mezo", "lr": 1e-3, "eps": 1e-4}
    make_run(sweep, "scratch", "full_zo", "x", [0.1, 0.5, 0.3], batch_size=8, cell=None, optimizer=optimizer, extra=1)
    study = study_of(load_own(sweep), "optimizer", "train_seconds", "memory_budget")
    assert len(maps(study, *pair_of(PAIR, study))) == 2


def test_a_picture_says_each_cell_and_its_reason(study: Study) -> None:
    drawn = html(study, *pair_of(PAIR, study))
    for told in ("=0.01, optimizer.eps=0.0001: 90.50 %", "eps=0.001: diverged at step 312", "eps=0.001: not tried"):
        assert told in drawn
    assert drawn.count("<rect") == 4


@pytest.mark.parametrize(
    ("map", "said"),
    [
        ("optimizer.lr", "is no pair of settings; write map=optimizer.lr,optimizer.eps"),
        ("optimizer.lr,optimizer.lr", "is no pair of settings"),
        ("optimizer.lr,speed", "speed tells no runs apart here; choose two of optimizer, optimizer.lr, optimizer.eps"),
    ],
)
def test_a_wrong_pair_names_what_there_is(map: str, said: str, study: Study) -> None:
    with pytest.raises(ValueError, match=said):
        pair_of(map, study)


def test_the_verb_draws_the_map_and_prints_it(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", f"runs={sweep}", f"map={PAIR}", f"out={tmp_path / 'out'}"]) == 0
    assert "diverged at step 312" in capsys.readouterr().out
    assert '<section id="map">' in (tmp_path / "out/index.html").read_text()
    assert "90.5" in (tmp_path / "out/tables/map.csv").read_text().replace("0.905", "90.5")


def test_a_map_of_no_own_runs_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", f"map={PAIR}"]) == 1
    assert "name them by runs=" in capsys.readouterr().err
