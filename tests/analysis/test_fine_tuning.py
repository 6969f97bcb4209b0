"""Crossings and times to a target on courses whose answers can be read off, and every file of a report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.figures import report_experiment
from analysis.fine_tuning import contenders, crossings, overtakes_at, target_of
from analysis.fine_tuning_figure import fine_tuning_by_seconds
from analysis.fine_tuning_table import overtaking_text, page
from analysis.load import EXPERIMENTS, load_published, load_results, load_runs
from analysis.render.data import csv
from analysis.render.markdown import markdown
from analysis.statistics import Times
from analysis.style import NoRecords
from tests.analysis.miniature import make_run

FINE_TUNING = "on_device_mezo/fine_tuning"


def course(*accuracies: float) -> np.ndarray:
    """An evaluation every ten seconds."""
    return np.column_stack([10.0 * np.arange(len(accuracies)), accuracies])


def test_a_crossing_is_where_two_straight_lines_meet():
    slow, fast = course(0.5, 0.6, 0.7, 0.8), course(0.5, 0.75, 0.75, 0.75)
    assert overtakes_at(slow, fast) == pytest.approx(25.0, abs=0.1)


def test_who_falls_behind_again_has_not_overtaken():
    assert overtakes_at(course(0.5, 0.9, 0.6), course(0.5, 0.7, 0.7)) is None


def test_only_the_last_of_several_crossings_counts():
    assert overtakes_at(course(0.5, 0.9, 0.6, 0.9), course(0.7, 0.7, 0.7, 0.7)) == pytest.approx(23.3, abs=0.1)


def test_who_was_ahead_all_along_overtook_at_zero():
    assert overtakes_at(course(0.6, 0.7), course(0.5, 0.6)) == 0.0


def test_courses_are_compared_until_the_shorter_ends():
    assert overtakes_at(course(0.5, 0.6), course(0.4, 0.5, 0.9)) == 0.0


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two seeds at 700MB, where Adam does not fit the larger model; at 350MB it fits none."""
    folder = tmp_path / "runs"

    def make(row: str, budget: int, accuracies: list[float], model: str = "smollm2_135m_lora", **how) -> None:
        name = f"{budget // 10**6}MB"
        part = {"model": {"name": model}, "memory_budget": {"name": name}}
        make_run(folder, FINE_TUNING, row, name, accuracies, budget=budget, **part, **how)

    for seed in (0, 1):
        make("mezo_lora", 700 * 10**6, [0.8, 0.8, 0.9], seed=seed, passes=(2, 0))
        make("bp_adam", 700 * 10**6, [0.5, 0.85, 0.85], model="minilm_l6", seed=seed, seconds=10.0 - 5 * seed)
    reason = "needs 346.9 MiB of 333.8 MiB (350MB, measured)"
    make("bp_adam", 350 * 10**6, [], model="minilm_l6", status="over_budget", reason=reason)
    return folder


def test_who_was_ahead_from_the_beginning_is_said_to_be():
    assert overtaking_text(Times((0.0, 0.0), 3)) == "ahead all along, 2 of 3"
    assert overtaking_text(Times((0.0, 30.0), 3)) == "30 (0 – never), 2 of 3"
    assert overtaking_text(Times((30.0,), 3)) == "never (30 – never), 1 of 3"
    assert overtaking_text(Times((10.0, 20.0, 60.0), 3)) == "20 (10 – 60), 3 of 3"
    assert overtaking_text(Times((), 3)) == "never, 0 of 3"


@pytest.fixture
def theory() -> pd.DataFrame:
    return load_published(FINE_TUNING)


def test_the_target_is_the_end_of_the_interval_of_the_best_untrained_model(runs: Path):
    target = target_of(load_runs(runs, FINE_TUNING))
    assert target is not None
    assert (target.model, target.zero_shot, target.examples) == ("smollm2_135m_lora", 0.8, 20)
    assert 0.9 < target.accuracy < 0.93  # Wilson, 16 of 20: 0.58 – 0.92


def test_contenders_come_with_costs_or_with_the_reason_why_not(runs: Path, theory: pd.DataFrame):
    absent, mezo, adam = contenders(load_runs(runs, FINE_TUNING), theory)
    assert (absent.budget, absent.final, absent.note) == (
        "350MB",
        None,
        "does not fit: needs 346.9 MiB of 333.8 MiB (350MB, measured)",
    )
    assert (mezo.row, mezo.forwards_in_theory, mezo.steps, mezo.forwards) == ("mezo_lora", 2.0, 200.0, 400.0)
    assert mezo.final is not None
    assert mezo.final.n == 2
    # The miniature's forward passes take 0.8 of all seconds, two passes a step; or 0.4 and two passes.
    assert (mezo.forwards_measured, adam.forwards_measured) == (pytest.approx(2.5), pytest.approx(2.5))
    assert adam.to_target.tries == 2


def test_crossings_are_taken_over_all_pairs_of_seeds(runs: Path):
    (crossing,) = crossings(load_runs(runs, FINE_TUNING))
    assert (crossing.budget, crossing.row, crossing.overtaken) == ("700MB", "mezo_lora", "bp_adam")
    assert crossing.at.tries == 4
    # Against seed 0 the lines meet at 15 s; seed 1 ends at 10 s, where it is ahead.
    assert crossing.at.seconds == pytest.approx((15.0, 15.0), abs=0.1)


@pytest.mark.parametrize(("backward_passes", "pair"), [(0, ("bp_foam", "bp_adam")), (1, ("mezo_lora", "bp_foam"))])
def test_a_row_of_any_name_is_classed_by_the_backward_passes_it_made(
    runs: Path, backward_passes: int, pair: tuple[str, str]
):
    how = {"budget": 700 * 10**6, "memory_budget": {"name": "700MB"}}
    make_run(runs, FINE_TUNING, "bp_foam", "700MB", [0.5, 0.6, 0.7], passes=(2, backward_passes), **how)
    pairs = {(one.row, one.overtaken) for one in crossings(load_runs(runs, FINE_TUNING))}
    assert pairs == {("mezo_lora", "bp_adam"), pair}


def test_of_the_recorded_contenders_only_mezo_trains_without_backpropagation():
    found = crossings(load_results(FINE_TUNING).of_profile("paper"))
    assert {one.row for one in found} == {"mezo", "mezo_lora"}
    assert {"elastic_zo", "bp_lora", "bp_sgd", "bp_adam", "bp_adam_checkpointed"} == {one.overtaken for one in found}


def test_the_table_says_what_fits_and_what_overtakes_what(runs: Path, theory: pd.DataFrame):
    records = load_runs(runs, FINE_TUNING)
    whole = page(records, theory, "paper")
    table = markdown(whole)
    assert "| any | zero-shot | SmolLM2-135M | – | 80.00 | 58.40 – 91.93† |" in table
    assert "does not fit: needs 346.9 MiB of 333.8 MiB (350MB, measured)" in table
    assert "| 2, measured 2.50 | 400 |" in table
    assert "| 700MB | MeZO LoRA | BP Adam | never (15 – never), 2 of 4 |" in table
    assert csv(whole.data[""]).count("\n") == 4
    assert csv(whole.data["_crossings"]).splitlines()[1].endswith(",2,4")


def test_over_several_budgets_there_is_a_performance_profile(runs: Path, theory: pd.DataFrame):
    assert "performance profile" not in markdown(page(load_runs(runs, FINE_TUNING), theory, "paper"))
    part = {"model": {"name": "minilm_l6"}, "memory_budget": {"name": "2.5GB"}, "budget": 2_500 * 10**6}
    make_run(runs, FINE_TUNING, "bp_adam", "2.5GB", [0.5, 0.95, 0.95], **part)
    table = markdown(page(load_runs(runs, FINE_TUNING), theory, "paper"))
    assert "| performance profile | within 1 × the fastest | within 2 × the fastest | within 4 × the fastest |" in table
    assert "| BP Adam | 50% | 50% | 50% |" in table  # no method gets to the target within 700MB


def test_the_figure_has_a_panel_for_each_budget_from_small_to_large(runs: Path):
    small, large = fine_tuning_by_seconds(load_runs(runs, FINE_TUNING)).axes
    assert (small.get_title(loc="left"), large.get_title(loc="left")) == ("350MB", "700MB")
    words = "\n".join(text.get_text() for text in [*small.texts, *large.texts])
    assert "BP Adam: does not fit: needs 346.9 MiB" in words
    assert "MeZO LoRA 90.0%, SmolLM2-135M, batch 32" in words
    assert "zero-shot 80.0%" in words


def test_a_report_writes_tables_and_figure(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    files = report_experiment(FINE_TUNING, "paper", runs, out=tmp_path / "figures")
    assert [path.name for path in files] == [
        *("fine_tuning.md", "fine_tuning.csv", "fine_tuning_crossings.csv"),
        *("fine_tuning_gains.md", "fine_tuning.png", "fine_tuning.svg"),
    ]
    assert "overtakes" in capsys.readouterr().out


def test_without_records_the_figure_says_what_to_run(tmp_path: Path):
    with pytest.raises(NoRecords, match="run make reproduce-on-device"):
        fine_tuning_by_seconds(load_runs(tmp_path, FINE_TUNING))


def test_every_contender_has_a_derived_cost(theory: pd.DataFrame):
    rows = {path.stem for path in (EXPERIMENTS / "on_device_mezo/fine_tuning_row").glob("*.yaml")}
    assert set(theory["row"]) >= rows
    assert theory["value"].between(2, 4).all()
