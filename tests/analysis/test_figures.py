from __future__ import annotations

import itertools
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation

from analysis.breakdowns import by_arithmetic, memory_breakdown, spread_text, step_milliseconds, step_time, typical
from analysis.curves import accuracy_by_seconds, accuracy_by_seconds_at, curve, loss_curves, seeds_note
from analysis.figures import report_experiment
from analysis.load import load_published, load_runs
from analysis.loss_sign import loss_sign
from analysis.style import NoRecords, headline, spread, styled
from tests.analysis.conftest import BUDGETS, MIB, TABLE
from tests.analysis.miniature import make_run
from tightfit.records.record import append_eval, read_evals


def label_texts(axes: Axes) -> list[str]:
    return [child.get_text() for child in axes.get_children() if isinstance(child, Annotation)]


def line_names(axes: Axes) -> list[str]:
    return [line.get_label() for line in axes.get_lines() if not line.get_label().startswith("_")]


def test_loss_panels_have_a_line_and_a_label_for_each_method(runs: Path):
    panels = loss_curves(load_runs(runs, TABLE), "FP32").axes
    assert [axes.get_title(loc="left") for axes in panels] == ["MNIST FP32, training", "MNIST FP32, test"]
    for axes in panels:
        assert line_names(axes) == ["Full ZO", "Full BP"]
        assert label_texts(axes) == ["Full ZO", "Full BP"]
        assert len(axes.collections) == 1  # a band for the method with several seeds


def test_a_seed_that_diverged_does_not_cut_the_line_of_the_others(runs: Path):
    make_run(runs, TABLE, "full_zo", "mnist_fp32", [0.1, 0.1], seed=9, status="diverged", reason="at step 150")
    axes = loss_curves(load_runs(runs, TABLE), "FP32").axes[1]
    assert [line.get_xdata()[-1] for line in axes.get_lines() if not line.get_label().startswith("_")] == [2.0, 2.0]


def test_agreement_of_the_loss_sign_is_that_of_the_last_evaluation(tmp_path: Path):
    for places, agreement in ((0, 0.9), (4, 0.99)):
        optimizer = {"name": "any", "fraction_bits": places}
        how = {"optimizer": optimizer, "passes": (2, 0)}
        folder = make_run(tmp_path, "elasticzo/loss_sign", f"row {places}", "any column", [0.1, 0.8], **how)
        rows = [{**content, "sign_agreement": agreement, "sign_ties": 0.01} for content in read_evals(folder)]
        (folder / "evals.jsonl").unlink()
        for content in rows:
            append_eval(folder, content)
    left, right = loss_sign(load_runs(tmp_path, "elasticzo/loss_sign")).axes
    assert [line.get_ydata().tolist() for line in left.get_lines()[1:]] == [pytest.approx([90.0, 99.0])]
    assert "Full ZO, MNIST 80.0" in label_texts(right)


def test_without_audited_runs_the_figure_names_the_command(runs: Path):
    with pytest.raises(NoRecords, match="reproduce elasticzo/loss_sign"):
        loss_sign(load_runs(runs, TABLE))


def test_a_budget_panel_labels_batch_sizes_and_names_who_is_absent_and_why(budget_runs: Path):
    small, large = accuracy_by_seconds(load_runs(budget_runs, BUDGETS)).axes
    assert (small.get_title(loc="left"), large.get_title(loc="left")) == ("1.5 MiB", "3 MiB")
    assert label_texts(small) == ["Full BP 97.0%, batch 4"]
    notes = "\n".join(text.get_text() for text in small.texts)
    assert "Full BP, Adam\ndoes not fit: needs 1.78 MiB" in notes
    assert "Full ZO\ndiverged at step 312" in notes
    assert sorted(label_texts(large)) == [
        "Full BP 97.5%, batch 15",
        "Full BP, Adam 97.5%, batch 9",
        "Full ZO 97.5%, batch 37",
    ]


def test_what_the_most_frequent_class_reaches_is_a_line_of_its_panel(budget_runs: Path):
    make_run(budget_runs, BUDGETS, "cls1", "3MiB", [0.1, 0.6, 0.9], budget=3 * MIB, majority=0.112)
    small, large = accuracy_by_seconds(load_runs(budget_runs, BUDGETS)).axes
    assert "most frequent class 11.2%" in label_texts(large)
    assert [line.get_ydata() for line in large.get_lines() if line.get_linestyle() == ":"] == [[0.112, 0.112]]
    assert large.get_ylim()[0] < 0.112
    assert not [text for text in label_texts(small) if "most frequent" in text]


def test_a_panel_without_a_budget_is_not_shown(budget_runs: Path):
    for row in ("full_bp", "full_zo"):
        make_run(budget_runs, BUDGETS, row, "6MiB", [0.1, 0.9, 0.99], budget=6 * MIB)
    panels = accuracy_by_seconds(load_runs(budget_runs, BUDGETS)).axes
    assert [panel.get_visible() for panel in panels] == [True, True, True, False]


def test_one_budget_can_stand_alone(budget_runs: Path):
    records = load_runs(budget_runs, BUDGETS)
    assert line_names(accuracy_by_seconds_at(records).axes[0]) == ["Full BP"]
    assert len(line_names(accuracy_by_seconds_at(records, 3 * MIB).axes[0])) == 3
    with pytest.raises(NoRecords, match=r"no run had a budget of 5 MiB; there are 1\.5 MiB, 3 MiB"):
        accuracy_by_seconds_at(records, 5 * MIB)


def test_seeds_are_averaged_at_equal_seconds(tmp_path: Path):
    make_run(tmp_path, TABLE, "full_bp", "mnist_fp32", [0.0, 0.4, 0.8], seed=0, seconds=10.0)
    make_run(tmp_path, TABLE, "full_bp", "mnist_fp32", [0.0, 0.4, 0.8], seed=1, seconds=20.0)
    line = curve(load_runs(tmp_path, TABLE), "full_bp", "train_seconds", "accuracy")
    assert (line.seeds, line.x[0], line.x[-1]) == (2, 0.0, 20.0)  # where the first of them ends
    assert line.mean == pytest.approx((0.04 * line.x + 0.02 * line.x) / 2)
    assert line.low == pytest.approx(0.02 * line.x)
    assert line.high == pytest.approx(0.04 * line.x)


def test_memory_bars_add_up_and_stand_beside_the_published_values(tmp_path: Path):
    for row, batch_size in itertools.product(("full_zo", "cls2", "cls1", "full_bp"), (32, 256)):
        make_run(tmp_path, "elasticzo/memory", row, f"batch_{batch_size}", batch_size=batch_size)
    figure = memory_breakdown(load_runs(tmp_path, "elasticzo/memory").runs, load_published("elasticzo/fig4"))
    small, large = figure.axes
    widths = np.array([[bar.get_width() for bar in kind] for kind in small.containers])
    assert widths.sum(0) == pytest.approx([2.615, 2.620, 2.679, 5.231], abs=1e-3)  # ElasticZO, section 5.3
    assert label_texts(small)[0] == "2.62 MiB (paper 2.6)\nmeasured 1.96 MiB, ×0.75"
    assert label_texts(large)[2].startswith("18.3 MiB = Full ZO + 221.0 KiB (paper 221.0)")
    assert label_texts(large)[3].startswith("36.1 MiB (paper 36.1)")


def test_where_the_paper_gives_only_an_overhead_it_stands_beside_ours(tmp_path: Path):
    for row in ("full_zo", "cls2", "cls1"):
        make_run(tmp_path, "elasticzo/memory_pointnet", row, "batch_32")
    runs = load_runs(tmp_path, "elasticzo/memory_pointnet").runs
    (panel,) = memory_breakdown(runs, load_published("elasticzo/fig6")).axes
    zo, _, cls1 = label_texts(panel)  # the miniature is LeNet-5: section 5.3
    assert zo.startswith("2.62 MiB\n")
    assert cls1.startswith("2.68 MiB = Full ZO + 2.4% (paper 0.12)\n")


def test_step_time_is_split_by_phase_and_the_rest_is_other(runs: Path):
    steps = typical(step_milliseconds(load_runs(runs, TABLE).runs))
    assert steps.loc["full_zo"].to_dict() == pytest.approx(
        {"forward": 80.0, "backward": 0.0, "perturb": 10.0, "update": 0.0, "other": 10.0}
    )
    assert steps.loc["full_bp"].sum() == pytest.approx(40.0)  # 4 s for 100 steps


def test_step_times_of_two_arithmetics_are_rows_of_one_figure(tmp_path: Path):
    for column in ("mnist_fp32", "mnist_int8"):
        make_run(tmp_path, "elasticzo/step_time_b256", "full_zo", column, [0.1, 0.2])
    runs = step_milliseconds(by_arithmetic(load_runs(tmp_path, "elasticzo/step_time_b256")).runs)
    assert list(typical(runs).index) == ["Full ZO, FP32", "Full ZO, INT8"]


def test_a_run_that_was_disturbed_does_not_set_a_methods_step_time():
    runs = pd.DataFrame({"forward": [3.0, 9.0, 2.0], "other": [1.0, 9.0, 1.0]}, index=["full_zo"] * 3)
    assert typical(runs).loc["full_zo"].to_dict() == {"forward": 3.0, "other": 1.0}
    assert spread_text(runs) == " (3–18, 3 runs)"
    assert spread_text(runs.iloc[:1]) == ""


def test_step_time_figure_has_a_bar_for_each_method_and_one_for_the_paper(runs: Path):
    absolute, relative = step_time(load_runs(runs, TABLE), load_published("elasticzo/fig7")).axes
    names = [label.get_text() for label in absolute.get_yticklabels()]
    assert names == ["Full ZO", "Full BP", "paper, Full ZO to Cls1\n(Raspberry Pi Zero 2)"]
    totals = np.array([[bar.get_width() for bar in phase] for phase in relative.containers]).sum(0)
    assert totals == pytest.approx([100.0, 100.0, 100.0])
    assert label_texts(absolute)[0] == "100 ms (100–100, 3 runs)\n1.25 × its forward time"
    assert "84.3–84.8" in [text.get_text() for text in relative.texts]


@pytest.mark.parametrize("draw", [partial(loss_curves, arithmetic="INT8"), accuracy_by_seconds, accuracy_by_seconds_at])
def test_without_records_a_figure_says_what_to_run(tmp_path: Path, draw):
    with pytest.raises(NoRecords, match="run make"):
        draw(load_runs(tmp_path, TABLE))


def test_what_a_headline_explains_stays_within_the_figure() -> None:
    figure, words = styled(height=4), "how to read it, " * 20
    headline(figure, "What is seen", words + "\nin two lines")
    _, explanation = figure.texts
    edge = figure.get_figwidth() * figure.dpi
    assert explanation.get_window_extent(FigureCanvasAgg(figure).get_renderer()).x1 < edge
    assert explanation.get_text().split() == [*words.split(), "in", "two", "lines"]
    assert explanation.get_text().endswith("\nin two lines")


def test_labels_keep_their_order_and_their_distance():
    places = spread([0.5, 0.52, 0.51, 0.99, 1.0], gap=0.1)
    assert sorted(range(5), key=lambda index: places[index]) == [0, 2, 1, 3, 4]
    assert np.diff(sorted(places)).min() >= 0.1 - 1e-9
    assert max(places) <= 1.0
    assert np.mean([places[0], places[1], places[2]]) == pytest.approx(0.51)


def test_a_label_with_room_stays_at_its_line_and_above_a_note():
    assert spread([0.2, 0.8], gap=0.1) == pytest.approx([0.2, 0.8])
    assert spread([0.2, 0.8], gap=0.1, lowest=0.3) == pytest.approx([0.3, 0.8])


def test_a_report_prints_the_table_and_writes_every_file(runs: Path, experiments: Path, tmp_path: Path, capsys):
    files = report_experiment(TABLE, "paper", runs, out=tmp_path / "figures", experiments=experiments)
    assert [path.relative_to(tmp_path / "figures").as_posix() for path in files] == [
        f"elasticzo/{name}" for name in ("table1.md", "table1.csv", "loss_curves.png", "loss_curves.svg")
    ]
    assert all(path.stat().st_size > 100 for path in files)
    assert "91.00 ± 1.00 (3)" in capsys.readouterr().out


def test_a_report_draws_from_committed_results_alone(runs: Path, experiments: Path, tmp_path: Path):
    from analysis.collect import collect

    collect(TABLE, runs, experiments=experiments)
    shutil.rmtree(runs)
    files = report_experiment(TABLE, "paper", runs, out=tmp_path / "figures", experiments=experiments)
    assert len(files) == 4
    assert "91.00 ± 1.00 (3)" in files[0].read_text()


def test_a_report_of_nothing_names_what_is_missing(experiments: Path, tmp_path: Path, capsys):
    files = report_experiment(BUDGETS, "paper", tmp_path / "nowhere", out=tmp_path, experiments=experiments)
    assert files == report_experiment("zo_shelf/mcu", "paper", tmp_path / "nowhere", out=tmp_path) == []
    assert "accuracy_by_seconds is not drawn: no run had a memory budget" in capsys.readouterr().out


def test_a_figure_says_of_how_many_seeds_its_lines_are_the_mean(tmp_path: Path) -> None:
    make_run(tmp_path, TABLE, "cls1", "mnist_fp32", [0.1, 0.9])
    make_run(tmp_path, TABLE, "full_zo", "mnist_fp32", [0.1, 0.5])
    assert seeds_note(load_runs(tmp_path, TABLE).runs) == "one seed"
    for seed in (1, 2):
        make_run(tmp_path, TABLE, "cls1", "mnist_fp32", [0.1, 0.9], seed=seed)
    assert seeds_note(load_runs(tmp_path, TABLE).runs).startswith("mean of 1 to 3 seeds")
