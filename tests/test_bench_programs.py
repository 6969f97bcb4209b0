"""What the bench of programs makes of its measurements; how long steps take is no test."""

import csv
from pathlib import Path

from rich.console import Console

from tightfit.bench.evidence import append
from tightfit.bench.language import Workload, recorded
from tightfit.bench.programs import row, show
from tightfit.records.places import EXPERIMENTS

LENGTHS, PEAKS = ("median_step_seconds", "median_step_cpu_seconds"), ("process_peak_bytes", "training_peak_bytes")
FRAMEWORK = [dict(zip((*LENGTHS, *PEAKS), (9.0, cpu, 8e8, 7e8), strict=True)) for cpu in (4.0, 5.0, 4.0)]
PROGRAM = [dict(zip((*LENGTHS, *PEAKS), (3.0, 2.0, peak, 3e8), strict=True)) for peak in (4e8, 6e8, 5e8)]
ROWS = [
    row("framework", FRAMEWORK, FRAMEWORK, {}),
    row("onnx", PROGRAM, FRAMEWORK, {"file_bytes": 5_000_000, "export_cpu_seconds": 60.4}),
]


def test_ratios_are_of_processor_time_and_memory_is_the_most_of_all_rounds() -> None:
    assert [each["ratio"] for each in ROWS] == [1.0, 0.5]
    assert (ROWS[1]["process_peak_bytes"], ROWS[1]["training_peak_bytes"], ROWS[1]["rounds"]) == (6e8, 3e8, 3)


def test_the_table_shows_each_program_beside_the_framework() -> None:
    console = Console(width=120, record=True)
    show(Workload("tiny", 2, 3), ROWS, console)
    framework, program = (line.split() for line in console.export_text().splitlines() if line[2:4] in ("fr", "on"))
    assert [word for word in framework if word != "│"] == ["framework", "9.000", "4.000", "1.00", "800", "700"]
    assert [word for word in program if word != "│"] == ["onnx", "3.000", "2.000", "0.50", "600", "300", "5.0", "60"]


def test_rows_are_recorded_with_their_evidence(tmp_path: Path) -> None:
    path = tmp_path / "device.csv"
    append(str(path), recorded(Workload("tiny", 2, 3), ROWS))
    framework, program = csv.DictReader(path.read_text().splitlines())
    assert (framework["file_bytes"], program["file_bytes"], program["queries"]) == ("", "5000000", "4")
    assert program["cpu"]
    assert program["measured_at"]
    committed = EXPERIMENTS / "mobizo" / "results" / "device.csv"
    assert committed.read_text().partition("\n")[0].split(",") == list(program)
