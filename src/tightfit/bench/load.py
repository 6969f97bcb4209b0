"""What loading and tables cost as runs grow in number, on runs that are made up: `tightfit bench part=load`.

Aims, for 10,000 runs of 100 evaluations: loading and tables in 10 seconds of processor time and 1 GB, and no more per
run than for 1,000.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tightfit.bench.evidence import append
from tightfit.records.places import analysis

SIZES = (100, 1_000, 10_000)


def measure_all(csv: str | None) -> None:
    """Show, and append to the file `csv`, the seconds of the processor and the most memory that this process has held,
    for each number of runs."""
    table = Table("runs", "making up (s)", "loading (s)", "tables (s)", "ms a run", "most memory (MiB)")
    rows = []
    for runs in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measured(Path(folder), runs))
        table.add_row(*map(str, rows[-1].values()))
    Console().print(table)
    append(csv, rows)


def measured(folder: Path, runs: int) -> dict[str, Any]:
    own, answer = analysis("report.own"), analysis("report.answer")
    began = time.process_time()
    analysis("made_up").make_up(folder, runs)
    made = time.process_time()
    records = own.load_own(folder)
    loaded = time.process_time()
    answer.page(own.study_of(records, "optimizer", "train_seconds", "memory_budget"))
    ended = time.process_time()
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    return {
        "runs": runs,
        "making_up_seconds": round(made - began, 2),
        "loading_seconds": round(loaded - made, 2),
        "tables_seconds": round(ended - loaded, 2),
        "ms_a_run": round(1000 * (ended - made) / runs, 2),
        "most_memory_mib": round(held),
    }
