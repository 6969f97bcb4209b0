"""What loading and tables cost as runs grow in number, on runs that are made up: `tightfit bench part=load`.

Aims, for 10,000 runs of 100 evaluations: loading and tables in 10 seconds of processor time and 1 GB, and no more per
run than for 1,000.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tightfit.records.places import analysis

SIZES = (100, 1_000, 10_000)


def measure_all() -> None:
    """Show the seconds of the processor, and the most memory that this process has held, for each number of runs."""
    table = Table("runs", "making up (s)", "loading (s)", "tables (s)", "ms a run", "most memory (MiB)")
    for runs in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            table.add_row(f"{runs:,}", *measured(Path(folder), runs))
    Console().print(table)


def measured(folder: Path, runs: int) -> list[str]:
    own, answer = analysis("report.own"), analysis("report.answer")
    began = time.process_time()
    analysis("made_up").make_up(folder, runs)
    made = time.process_time()
    records = own.load_own(folder)
    loaded = time.process_time()
    answer.page(own.study_of(records, "optimizer", "train_seconds", "memory_budget"))
    ended = time.process_time()
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    seconds = [f"{some:.2f}" for some in (made - began, loaded - made, ended - loaded)]
    return [*seconds, f"{1000 * (ended - made) / runs:.2f}", f"{held:.0f}"]
