"""What the benches of load, of the page and of overhead count; how long things take is no test."""

import csv
import os
import shutil
from pathlib import Path

import pytest

from tests.analysis.miniature import make_run
from tightfit.bench import load, overhead, page
from tightfit.bench.__main__ import main
from tightfit.bench.overhead import Swept, beyond_training
from tightfit.commands.words import WrongWords
from tightfit.records.machine import describe_processor

NO_NEED_OF_DATA = "dataset._target_=tests.synthetic.bars"


def test_beyond_training_is_from_one_end_to_the_next_without_what_was_trained(tmp_path: Path) -> None:
    for number, (trained, ended) in enumerate([(4.0, 1000.0), (3.0, 1005.5), (1.0, 1007.0)]):
        folder = make_run(tmp_path, "scratch", "full_zo", "x", [0.1, 0.2], seconds=trained, seed=number)
        os.utime(folder / "run.json", (ended, ended))
    assert beyond_training(tmp_path) == [2.5, 0.5]


def test_cores_are_busy_for_the_part_of_their_time_that_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    row = Swept("all_cores", 200, 10.0, 17.0, (0.1,)).row()
    assert (row["busy"], row["beyond_training_most"]) == (0.85, "")


@pytest.mark.slow
def test_sweeps_are_recorded_with_their_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "SWEEPS", {"basic": 3})
    monkeypatch.setattr(overhead, "WORDS", (*overhead.WORDS, NO_NEED_OF_DATA))
    assert main(["part=overhead", f"csv={tmp_path / 'overhead.csv'}"]) == 0
    (row,) = csv.DictReader((tmp_path / "overhead.csv").open())
    assert (row["launcher"], row["runs"]) == ("basic", "3")
    assert 0 < float(row["beyond_training_median"]) <= float(row["beyond_training_most"]) < float(row["wall_seconds"])
    assert {"cpu", "load", "commit", "dirty", "measured_at"} <= set(row)


def test_a_sweep_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "WORDS", ("optimizer=none_such",))
    with pytest.raises(RuntimeError, match=r"the sweep failed: [\s\S]*none_such"):
        overhead.swept("basic", 1)


def test_load_is_recorded_for_each_number_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "SIZES", (2, 4))
    assert main(["part=load", f"csv={tmp_path / 'load.csv'}"]) == 0
    rows = list(csv.DictReader((tmp_path / "load.csv").open()))
    assert [row["runs"] for row in rows] == ["2", "4"]
    assert describe_processor().items() <= rows[0].items()
    assert all(float(row["most_memory_mib"]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("has", "message"), [((), "needs playwright"), (("playwright",), "needs a browser; put one of")]
)
def test_without_a_browser_the_bench_of_the_page_says_what_it_needs(
    has: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "find_spec", lambda name: name in has or None)
    monkeypatch.setattr(page.shutil, "which", lambda _: None)
    with pytest.raises(WrongWords, match=message):
        page.measure_all(None)


@pytest.mark.browser
def test_the_page_is_opened_for_each_number_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if not any(map(shutil.which, page.BROWSERS)):
        pytest.skip("needs chromium on the PATH, such as that of apt-get install chromium")
    monkeypatch.setattr(page, "SIZES", (3,))
    assert main(["part=page", f"csv={tmp_path / 'page.csv'}"]) == 0
    (row,) = csv.DictReader((tmp_path / "page.csv").open())
    assert row["runs"] == "3"
    assert 0 < float(row["answers_median"]) <= float(row["answers_most"])
