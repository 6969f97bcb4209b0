"""Predictions of memory beside measurements: the sums, the words, and what the recorded grid has to keep to."""

import pandas as pd
import pytest

from analysis.load import RUN_COLUMNS, frame, load_results
from analysis.predicted import INFERENCE, accuracy, grid_cells, predicted_against_measured, worst
from analysis.style import NoRecords

MIB = 2**20


def grid(*cells: tuple[str, int, float, float]) -> pd.DataFrame:
    """Runs of LeNet-5: method, batch size, predicted and measured MiB; inference is predicted exactly."""
    return frame(
        [
            {
                "key": f"{row}{batch_size}",
                "cell_row": row,
                "model": "lenet5",
                "device": "cpu",
                "batch_size": batch_size,
                "started_at": "2026",
                "total_bytes": 2 * MIB,
                "peak_live_bytes": int(predicted * MIB),
                "measured_peak_bytes": int(measured * MIB),
                "peak_live_inference_bytes": batch_size * MIB,
                "measured_inference_peak_bytes": batch_size * MIB,
            }
            for row, batch_size, predicted, measured in cells
        ],
        RUN_COLUMNS,
    )


def test_errors_are_signed_and_inference_is_one_cell_for_each_batch() -> None:
    cells = grid_cells(grid(("mezo", 1, 1.02, 1.0), ("bp_sgd", 1, 3.9, 4.0), ("bp_sgd", 8, 5.0, 5.0)))
    errors = cells.set_index(["method", "batch_size"])["error"]
    assert errors["mezo", 1] == pytest.approx(0.02, abs=1e-5)
    assert errors["bp_sgd", 1] == pytest.approx(-0.025, abs=1e-5)
    assert list(errors[INFERENCE]) == [0.0, 0.0]


def test_the_worst_case_is_named_with_its_sizes() -> None:
    cells = grid_cells(grid(("mezo", 1, 1.02, 1.0), ("bp_sgd", 1, 3.9, 4.0), ("bp_sgd", 8, 5.0, 5.0)))
    assert worst(cells) == "\nWorst case: LeNet-5, BP SGD, batch 1: 3.90 MiB predicted, 4.00 MiB measured."
    assert accuracy(cells).endswith("median error 2 %, worst 2.5 %; 1 of 3 cells agree to the byte.")


def test_where_nothing_is_off_no_cell_is_the_worst() -> None:
    assert worst(grid_cells(grid(("mezo", 1, 1.0, 1.0), ("bp_sgd", 8, 5.0, 5.0)))) == ""


def test_the_figure_has_a_point_for_each_cell_in_both_conventions() -> None:
    figure = predicted_against_measured(grid(("mezo", 1, 1.02, 1.0), ("bp_sgd", 1, 3.9, 4.0), ("niti_bp", 8, 5.0, 5.0)))
    scatter, ratios = figure.axes
    assert sum(len(points.get_offsets()) for points in scatter.collections) == 5  # and inference at two batch sizes
    drawn = [tuple(point) for points in ratios.collections for point in points.get_offsets().tolist()]
    assert pytest.approx((0.5, 0.2)) in drawn  # 2 MiB in the papers' convention, 4 measured


def test_without_predictions_the_figure_says_what_to_run() -> None:
    runs = grid(("mezo", 1, 1.0, 1.0)).assign(peak_live_bytes=pd.NA)
    with pytest.raises(NoRecords, match="make reproduce-memory-grid"):
        predicted_against_measured(runs)


def test_the_recorded_grid_is_large_enough_and_its_predictions_hold_on_cpu() -> None:
    cells = grid_cells(load_results("memory_grid/grid").runs)
    trained = cells[(cells["method"] != INFERENCE) & (cells["device"] == "cpu")]
    assert len(trained) >= 60
    assert {"lenet5", "lenet5_int8", "pointnet", "llama_10m"} <= set(trained["model"])
    assert trained["error"].abs().median() <= 0.01
    assert trained["error"].abs().max() <= 0.03
