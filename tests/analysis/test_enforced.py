"""The page of budgets that the operating system held to."""

from __future__ import annotations

from pathlib import Path

from analysis.enforced import page
from analysis.load import frame, load_runs
from analysis.render.markdown import markdown
from tests.analysis.miniature import make_run

ENFORCED = "on_device_mezo/enforced"
MB = 10**6


def test_a_line_tells_what_was_held_and_how_it_ended(tmp_path: Path) -> None:
    make_run(tmp_path, ENFORCED, "mezo_lora", "300MB", [0.5, 0.6], budget=300 * MB, model={"name": "smollm2_135m"})
    make_run(
        *(tmp_path, ENFORCED, "bp_lora_checkpointed", "300MB"),
        budget=300 * MB,
        status="over_budget",
        reason="an allocation failed: the process may hold 286 MiB",
    )
    records = load_runs(tmp_path, ENFORCED)
    kept = records.runs["status"] == "finished"
    records.runs.loc[kept, ["enforced_baseline_bytes", "process_peak_bytes"]] = [200 * 2**20, 900 * 2**20]
    text = markdown(page(records, frame([], {}), "paper"))
    lines = [line for line in text.splitlines() if line.startswith("| custom")]
    assert len(lines) == 2
    assert "| 200 MiB | 900 MiB | finished, 100 steps |" in lines[0]
    assert "| – | – | over budget: an allocation failed: the process may hold 286 MiB |" in lines[1]
