from __future__ import annotations

import csv
import fcntl
import io
from pathlib import Path

import pytest
from rich.console import Console

from analysis.load import EXPERIMENTS, load_published, load_runs
from analysis.render.data import csv as as_csv
from analysis.render.markdown import markdown
from analysis.statistics import hierarchical
from analysis.table_page import data, page_of
from analysis.table_terminal import render_terminal
from analysis.tables import ResultTable, Superseded, build_table, interval_text, percent
from tests.analysis.conftest import MIB, TABLE
from tests.analysis.miniature import make_run
from tests.rewritten import rewritten
from tightfit.records.record import LOCK


def table_of(runs: Path, experiments: Path, profile: str = "paper", recorded: Path | None = None) -> ResultTable:
    chosen = load_runs(runs, TABLE).of_profile(profile).runs
    beside = None if recorded is None else load_runs(recorded, TABLE).of_profile("paper").runs
    return build_table(TABLE, profile, chosen, load_published(TABLE, experiments), beside)


def printed(table: ResultTable, width: int = 120) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(render_terminal(table))
    return console.file.getvalue()


def note_of(runs: Path, experiments: Path) -> str:
    return next(cell.note for cell in table_of(runs, experiments).cells if cell.row == "full_zo")


def test_cells_hold_mean_spread_count_and_difference(runs: Path, experiments: Path):
    zo, bp = table_of(runs, experiments).cells
    assert (zo.ours.mean, zo.ours.spread, zo.ours.n) == pytest.approx((0.91, 0.01, 3))
    assert (zo.published, zo.difference) == pytest.approx((0.898, 0.012))
    assert (bp.ours.mean, bp.ours.n, bp.ours.interval) == (0.99, 1, "test set")
    assert bp.difference == pytest.approx(-0.001)


def test_terminal_table_shows_ours_beside_published(runs: Path, experiments: Path):
    text = printed(table_of(runs, experiments))
    (line,) = [line for line in text.splitlines() if "Full ZO" in line]
    low, high = (percent(end) for end in hierarchical([0.90, 0.91, 0.92], 10))  # 90% tells of ten examples
    assert line.split() == [*["Full", "ZO", "91.00", "±", "1.00", "(3)"], low, "–", high, "89.80", "+1.20,", "agrees"]
    assert "Example CPU, 2 cores, 1 thread per run" in text
    assert "commit 0123456" in text
    assert "† one seed" in text


def test_terminal_table_keeps_to_120_columns(runs: Path, experiments: Path, tmp_path: Path):
    make_run(tmp_path / "short", TABLE, "full_zo", "mnist_fp32", [0.1, 0.8], profile="short")
    text = printed(table_of(tmp_path / "short", experiments, "short", recorded=runs), width=200)
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("width", [80, 120])
def test_what_does_not_fit_a_terminal_goes_on_below_and_is_not_cut(
    width: int, runs: Path, experiments: Path, tmp_path: Path
) -> None:
    wide = "modelnet40_256_points_16_epochs_fp32"
    for row, status in (("full_zo", "finished"), ("cls2", "interrupted")):
        make_run(tmp_path / "short", TABLE, row, wide, [0.1, 0.8], profile="short", status=status)
    text = printed(table_of(tmp_path / "short", experiments, "short", recorded=runs), width)
    assert "…" not in text
    if width == 120:
        assert "  ZO-Feat-Cls2" in text
        assert "91.00 ± 1.00 (3)" in text
        assert "interrupted, not ended" in text


def test_a_short_profile_says_so_in_the_title(tmp_path: Path, experiments: Path):
    make_run(tmp_path, TABLE, "full_zo", "mnist_fp32", [0.1, 0.8], profile="short")
    table = table_of(tmp_path, experiments, "short")
    assert table.title.endswith("SHORT PROFILE: 8% of the training, not the paper's protocol")


def test_recorded_paper_runs_stand_beside_those_of_another_profile(runs: Path, experiments: Path, tmp_path: Path):
    make_run(tmp_path / "short", TABLE, "full_zo", "mnist_fp32", [0.1, 0.8], profile="short")
    zo, bp = table_of(tmp_path / "short", experiments, "short", recorded=runs).cells
    assert (zo.ours.mean, zo.recorded.mean) == pytest.approx((0.8, 0.91))
    assert (bp.ours, bp.note, bp.recorded.mean) == (None, "not run", 0.99)


@pytest.mark.parametrize(
    ("status", "reason", "note"),
    [
        ("over_budget", "needs much", "over budget: needs 2.62 MiB of 1.5 MiB"),
        ("diverged", "loss is nan at step 312; lower the learning rate", "diverged at step 312"),
        ("failed", "DataUnavailable: no route to mnist", "data unavailable"),
        ("failed", "OSError: disk full\nmore", "failed: OSError: disk full"),
        ("running", "", "running, not ended"),
    ],
)
def test_a_blank_says_why(tmp_path: Path, experiments: Path, status: str, reason: str, note: str):
    folder = make_run(tmp_path, TABLE, "full_zo", "mnist_fp32", status=status, reason=reason, budget=3 * MIB // 2)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as the process that makes a run does
        assert note_of(tmp_path, experiments) == note


def test_a_run_that_only_the_measurement_refused_says_what_was_measured(tmp_path: Path, experiments: Path):
    reason = "needs 3.1 MiB of 3 MiB (small, measured)"
    make_run(tmp_path, TABLE, "full_zo", "mnist_fp32", status="over_budget", reason=reason, budget=3 * MIB)
    assert note_of(tmp_path, experiments) == f"over budget: {reason}"


def test_a_cell_without_runs_says_not_run(tmp_path: Path, experiments: Path):
    make_run(tmp_path, TABLE, "full_bp", "mnist_fp32", [0.1, 0.99])
    assert note_of(tmp_path, experiments) == "not run"


def test_seeds_that_diverged_are_mentioned_beside_the_mean_of_the_others(runs: Path, experiments: Path):
    make_run(runs, TABLE, "full_zo", "mnist_fp32", [0.1], seed=9, status="diverged", reason="at step 5")
    zo = table_of(runs, experiments).cells[0]
    assert (zo.ours.n, zo.note) == (3, "without 1 of 4 seeds: diverged at step 5")


def test_columns_are_those_run_or_all_published_when_nothing_was(runs: Path, experiments: Path, tmp_path: Path):
    assert table_of(runs, experiments).columns == ["mnist_fp32"]
    nothing = table_of(tmp_path / "nowhere", experiments)
    assert nothing.columns == ["mnist_fp32", "mnist_int8_star"]
    notes = {(cell.row, cell.column): cell.note for cell in nothing.cells}
    assert notes.pop(("full_bp", "mnist_int8_star")) == ""  # the paper has none either
    assert set(notes.values()) == {"not run"}
    assert "not run" in printed(nothing)


def test_a_column_that_nothing_published_answers_comes_last_and_says_what_it_is(runs: Path, experiments: Path):
    make_run(runs, TABLE, "full_zo", "modelnet40_256_points_16_epochs_fp32", [0.02, 0.1])
    table = table_of(runs, experiments)
    assert table.columns == ["mnist_fp32", "modelnet40_256_points_16_epochs_fp32"]
    assert "ModelNet40 (256 pts, 16 ep.) FP32" in printed(table)
    assert {cell.published for cell in table.of(table.columns[-1])} == {None}


def test_an_earlier_run_of_a_cell_is_left_out_and_said_to_be(runs: Path, experiments: Path):
    early = {"started_at": "2025-01-01T00:00:00+00:00", "optimizer": {"name": "elastic_zo", "lr": 0.1}}
    folder = make_run(runs, TABLE, "full_zo", "mnist_fp32", [0.1, 0.7654], seed=1, **early)
    table = table_of(runs, experiments)
    assert table.cells[0].ours.mean == pytest.approx(0.91)
    assert table.cells[0].superseded == (Superseded(1, 0.7654, "run again later, with other settings", folder.name),)
    text = markdown(page_of(table))
    assert "| Full ZO | MNIST FP32 | 1 | 76.54 | run again later, with other settings |" in text
    assert "4 runs (1 superseded left out), 1.13 min of processor time, 1.13 by the clock" in text
    zo, bp = csv.DictReader(io.StringIO(as_csv(data(table))))
    assert (zo["superseded"], bp["superseded"]) == ("76.540", "")


def test_a_superseded_run_gives_way_to_the_others_of_its_cell_and_is_listed_with_its_reason(
    runs: Path, experiments: Path
):
    folder = make_run(runs, TABLE, "full_zo", "mnist_fp32", [0.1, 0.7654], seed=9, started_at="2026-03-01", threads=2)
    published, local = load_published(TABLE, experiments), load_runs(runs, TABLE).runs
    why = {folder.name: "a fault of the code"}
    table = build_table(TABLE, "paper", local, published, reasons=why)
    assert table.cells[0].ours.n == 3
    assert table.cells[0].superseded == (Superseded(9, 0.7654, "a fault of the code", folder.name),)
    assert len(table.cells[0].runs) == 3
    assert folder.name not in table.cells[0].runs
    assert "4 runs (1 superseded left out)" in table.provenance
    text = markdown(page_of(table, listed_in="there.md"))
    assert "1 superseded runs, what they scored and why: [listed](there.md)." in text


def test_superseded_runs_are_shown_and_marked_until_their_cell_is_run_again(runs: Path, experiments: Path):
    local = load_runs(runs, TABLE).runs
    why = dict.fromkeys(local["key"], "before the protocol")
    table = build_table(TABLE, "paper", local, load_published(TABLE, experiments), reasons=why)
    assert "| Full ZO | 91.00 ± 1.00 (3)‡ |" in markdown(page_of(table))
    assert "‡ superseded, and shown until it is run again" in printed(table)
    assert table.cells[0].superseded == ()


def test_machines_of_several_capabilities_are_named(runs: Path, experiments: Path):
    for seed, name in enumerate(("AVX2", "AVX512")):
        folder = make_run(runs, TABLE, "full_zo", "mnist_fp32", [0.1, 0.9], seed=10 + seed)
        with rewritten(folder) as content:
            content["machine"] |= {"capability": name}
    provenance = table_of(runs, experiments).provenance
    assert "Example CPU, 2 cores" in provenance
    assert "Example CPU (AVX2), 2 cores" in provenance
    assert "Example CPU (AVX512), 2 cores" in provenance


def test_validation_scores_never_enter_a_table(tmp_path: Path, experiments: Path):
    folder = make_run(tmp_path, TABLE, "full_zo", "mnist_fp32", [0.1, 0.9])
    with rewritten(folder) as content:
        content["dataset"]["scored"] = "validation"
    (folder / "evals.jsonl").write_text((folder / "evals.jsonl").read_text().replace('"test', '"validation'))
    assert note_of(tmp_path, experiments) == "not run"


def test_the_row_before_training_is_the_accuracy_at_step_0_once_per_seed(tmp_path: Path):
    column = "rotated_mnist_30_fp32"
    for seed, start in enumerate((0.70, 0.80)):
        for row in ("full_zo", "full_bp"):
            make_run(tmp_path, "elasticzo/table2", row, column, [start, 0.9], seed=seed)
    runs = load_runs(tmp_path, "elasticzo/table2").runs
    table = build_table("elasticzo/table2", "paper", runs, load_published("elasticzo/table2"))
    before = next(cell for cell in table.cells if cell.row == "none")
    assert (before.ours.mean, before.ours.n) == pytest.approx((0.75, 2))
    assert before.published == pytest.approx(0.7441)


def test_markdown_and_data_say_the_same(runs: Path, experiments: Path):
    table = table_of(runs, experiments)
    text, interval = markdown(page_of(table)), interval_text(table.cells[0].ours)
    assert f"| Full ZO | 91.00 ± 1.00 (3) | {interval} | 89.80 | +1.20, agrees |" in text
    one_seed = interval_text(table.cells[1].ours)
    assert one_seed.endswith("†")
    assert f"| Full BP | 99.00 (1) | {one_seed} | 99.10 | -0.10, one seed |" in text
    assert "hierarchical bootstrap of seeds and test examples" in text
    zo, bp = csv.DictReader(io.StringIO(as_csv(data(table))))
    assert (zo["ours_mean"], zo["ours_n"], zo["published"], zo["difference"]) == ("91.000", "3", "89.800", "1.200")
    assert (bp["ours_interval"], bp["ours_spread"], bp["recorded_mean"]) == ("test set", "", "")
    assert (zo["verdict"], bp["verdict"]) == ("agrees", "one seed")


@pytest.mark.parametrize(("name", "cells", "blanks"), [("table1", 28, 2), ("table2", 40, 0)])
def test_published_numbers_are_complete(name: str, cells: int, blanks: int):
    published = load_published(f"elasticzo/{name}", EXPERIMENTS)
    assert len(published) == cells
    assert published["value"].isna().sum() == blanks
    assert not published.duplicated(["row", "column"]).any()
    assert set(published["unit"]) == {"%"}
