"""Whether a process kept within a budget that was enforced, method by method: `on_device_mezo/enforced`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from .load import BASELINE, PROCESS, Records, latest
from .names import in_order, mebibytes, method, model_title, subject
from .page import Backed, Page, table
from .tables import profile_banner, provenance, why

HEADERS = ("budget", "method", "model", "batch", "rehearsed", "measured", "held before", "process", "outcome")
BYTES = ("peak_live_bytes", "measured_peak_bytes", BASELINE, PROCESS)
LEGEND = (
    "The process may hold what it held before, the budget, and 32 MiB of slack; an allocation beyond that fails, and "
    "the run ends as over budget. Rehearsed and measured: the most bytes of tensors alive in a step. Held before: the "
    "data segment of Python and its libraries, without the model's weights, which count within the budget. Process: "
    "the most physical memory in measured steps, among it libraries and the copy of the model that is measured."
)


def page(records: Records, _published: pd.DataFrame, profile: str) -> Page:
    """A line for each contender under each budget."""
    runs = latest(records.runs, ["cell_row", "memory_budget", "seed"])
    order = in_order(set(runs["cell_row"]))
    runs = runs.sort_values("cell_row", key=lambda rows: rows.map(order.index)).sort_values(
        "budget_bytes", kind="stable"
    )
    parts = (profile_banner(profile, runs), LEGEND, table(HEADERS, map(line, runs.to_dict("records"))))
    title = f"Budgets that the operating system held to: {subject(runs)}"
    names = ["memory_budget", "cell_row", "model", "batch_size", *BYTES, "steps", "status"]
    return Page(title, parts, provenance(runs), {"": runs[names].assign(profile=profile)})


def line(run: Mapping[Any, Any]) -> list[str]:
    outcome = f"finished, {run['steps']} steps" if run["status"] == "finished" else why(run)
    return [
        run["memory_budget"],
        method(run["cell_row"]).title,
        model_title(run["model"]),
        str(run["batch_size"]),
        *("–" if pd.isna(run[name]) else mebibytes(run[name]) for name in BYTES),
        Backed(outcome, [run["key"]]),
    ]
