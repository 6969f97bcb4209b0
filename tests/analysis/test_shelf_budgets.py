"""The shelf within budgets, from made records whose numbers can be checked by hand."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.figures import report_experiment
from analysis.load import EXPERIMENTS, Records, load_runs
from analysis.names import METHODS
from analysis.papers import budgets
from analysis.render.markdown import markdown
from analysis.shelf_budgets import answer, best_within, contenders, page
from analysis.shelf_budgets_figure import accuracy_within_budgets
from analysis.style import NoRecords
from tests.analysis.miniature import make_run
from tightfit.records.record import read_run, write_run

IMAGES = "shelf/images"
SMALL, MIDDLE, LARGE = 3_500_000, 16_000_000, 60_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """MeZO and Adam on LeNet-5, BSR and an Adam that does not fit on the transformer; one that diverged."""
    runs = tmp_path / "runs"

    def make(row: str, column: str, *accuracies: float, planned: int, measured: int | None = None, **how: Any) -> None:
        made = make_run(runs, IMAGES, row, column, accuracies, model={"name": column}, **how)
        record = read_run(made)
        assert record is not None
        record.memory |= {"peak_live_bytes": planned, "measured_peak_bytes": measured}
        record.memory["process_peak_bytes"] = 400_000_000 if measured else None
        write_run(made, record)

    for seed in (0, 1):
        make("mezo", "lenet5", 0.5, 0.6 + 0.1 * seed, planned=1_600_000, measured=1_600_000, seed=seed, passes=(2, 0))
        make("bp_adam", "lenet5", 0.5, 0.8, planned=4_000_000, measured=4_100_000, seed=seed, seconds=5.0)
    make("bsr", "vit_tiny", 0.5, 0.9, planned=15_900_000, measured=16_100_000, seconds=50.0)
    make("bp_adam", "vit_tiny", planned=70_000_000, status="over_budget", reason="needs 70 MB of 60 MB")
    make("bp_foam", "lenet5", 0.5, planned=3_300_000, measured=3_300_000, status="diverged", reason="at step 7")
    return runs


@pytest.fixture
def records(folder: Path) -> Records:
    return load_runs(folder, IMAGES)


def test_the_budgets_are_those_of_the_folder() -> None:
    assert budgets(IMAGES) == [SMALL, MIDDLE, LARGE]
    with pytest.raises(ValueError, match=r"shelf/paper.yaml says no budgets.kb256; write a list of bytes"):
        budgets("shelf/kb256")


def test_a_contender_extends_adam_or_mezo_on_its_own_model(records: Records) -> None:
    found = {(one.column, one.standing.row): one.standing for one in contenders(records)}
    assert found["lenet5", "mezo"].against == "mezo"
    assert found["lenet5", "bp_foam"].against == found["vit_tiny", "bsr"].against == "bp_adam"
    assert found["vit_tiny", "bsr"].above is None  # there Adam did not fit


def test_what_fits_is_what_the_plan_says_and_the_front_is_of_what_finished(records: Records) -> None:
    found = contenders(records)
    best = {size: [(one.column, one.standing.row) for one in best_within(found, size)] for size in (SMALL, MIDDLE)}
    assert best[SMALL] == [("lenet5", "mezo")]
    assert sorted(best[MIDDLE]) == [("lenet5", "bp_adam"), ("lenet5", "mezo"), ("vit_tiny", "bsr")]


def test_a_slower_and_larger_one_that_is_no_better_is_not_on_the_front(folder: Path) -> None:
    made = make_run(folder, IMAGES, "bp_muon", "lenet5", [0.5, 0.8], model={"name": "lenet5"}, seconds=6.0)
    record = read_run(made)
    assert record is not None
    record.memory |= {"peak_live_bytes": 5_000_000, "measured_peak_bytes": 5_000_000}
    write_run(made, record)
    best = best_within(contenders(load_runs(folder, IMAGES)), MIDDLE)
    assert "bp_muon" not in {one.standing.row for one in best}


def test_the_plan_stands_beside_what_was_measured(records: Records) -> None:
    found = contenders(records)
    assert answer(found, SMALL) == "by plan 2 of 5 fit. No measured peak of these is above it."
    assert answer(found, MIDDLE) == "by plan 4 of 5 fit. Measured above it: BSR."
    assert answer(found, 1_000) == "by plan 0 of 5 fit. None of them was measured."


def test_the_page_has_a_table_for_each_budget_and_blanks_with_their_need(records: Records) -> None:
    whole = page(records, records.runs, "paper")
    text = markdown(whole)
    assert [text.count(f"**{size}**") for size in ("3.5 MB", "16 MB", "60 MB")] == [1, 1, 1]
    assert text.count("| BP Adam | ViT of 305,034 weights | 70 MB | – | – | does not fit |") == 3
    assert text.count("| BP Adam | LeNet-5 | 4 MB | 4.1 MB | 400 MB | does not fit |") == 1
    assert "| BP Adam | LeNet-5 | 4 MB | 4.1 MB | 400 MB | 80.00 ± 0.00 (2) |" in text
    assert "diverged at step 7" in text
    numbers = whole.data[""]
    assert len(numbers) == 3 * 5
    assert numbers.groupby("budget_bytes")["fits"].sum().to_dict() == {SMALL: 2, MIDDLE: 4, LARGE: 4}


def test_the_figure_has_a_row_for_each_budget_and_names_the_front(records: Records) -> None:
    figure = accuracy_within_budgets(records)
    words = [{text.get_text() for text in axes.texts if text.get_text()} for axes in figure.axes]
    assert words == [{"MeZO"}] * 2 + [{"MeZO", "BP Adam", "BSR"}] * 4
    assert [len(axes.lines) for axes in figure.axes] == [1, 1, 3, 3, 3, 3]


def test_a_report_writes_the_page_and_the_figure(folder: Path, tmp_path: Path, without_results: Path) -> None:
    files = report_experiment(IMAGES, "paper", folder, out=tmp_path / "figures", experiments=without_results)
    assert [path.name for path in files] == ["images.md", "images.csv", "shelf_images.png", "shelf_images.svg"]


def test_without_records_page_and_figure_say_so(tmp_path: Path) -> None:
    none = load_runs(tmp_path, IMAGES)
    assert "no runs yet" in markdown(page(none, none.runs, "paper"))
    with pytest.raises(NoRecords, match="run make reproduce-shelf"):
        accuracy_within_budgets(none)


def test_every_row_and_preset_of_the_shelf_has_a_name() -> None:
    rows = {path.stem for folder in ("row", "update") for path in (EXPERIMENTS / "shelf" / folder).glob("*.yaml")}
    conf = EXPERIMENTS.parent / "conf/optimizer"
    rules = [path.stem for path in (conf / "rule").glob("*.yaml")]
    called = [yaml.safe_load(path.read_text())["called"] for path in (conf / "activations").glob("*.yaml")]
    assert rows | {f"bp_{rule}{kept}" for rule in rules for kept in called} <= set(METHODS)
