"""Sections that any records have: memory as predicted and measured, runs without a number, and the list of all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ..load import PROCESS, Records, latest
from ..names import budget_title, column_title, dataset_title, experiment_title, mebibytes, method, model_title
from ..page import Backed, Page, table
from ..tables import machine, percent, why
from .run_page import address

WITHOUT = ("over_budget", "diverged", "failed", "interrupted")
HEADINGS = (
    "run",
    "experiment",
    "what",
    "data",
    "budget",
    "seed",
    "status",
    "accuracy",
    "held MiB",
    "seconds",
    "started",
)
MODEL_BATCH_METHOD = ["model", "batch_size", "cell_row", "device"]


def without_a_number(runs: pd.DataFrame) -> Page | None:
    """Runs that ended without a result, each with its reason."""
    here = runs[runs["status"].isin(WITHOUT)].to_dict("records")
    lines = [
        (
            *(experiment_title(run["experiment"]), Backed(what(run), [run["key"]]), words(run, "cell_column")),
            *(words(run, "seed"), run["status"].replace("_", " "), why(run)),
        )
        for run in here
    ]
    if not lines:
        return None
    headings = ("experiment", "run of", "", "seed", "status", "why")
    names = ["experiment", "key", "cell_row", "cell_column", "seed", "status", "reason", "total_bytes", "budget_bytes"]
    said = "A run that was over its budget, or that diverged, is a result: it says why there is no number."
    return Page("Runs without a number", (said, table(headings, lines)), "", {"": pd.DataFrame(here)[names]})


def what(run: Mapping[Any, Any]) -> str:
    """The row of a table that a run belongs to, or its optimizer."""
    return str(run["optimizer"]) if pd.isna(run["cell_row"]) else method(run["cell_row"]).title


def words(run: Mapping[Any, Any], name: str) -> str:
    if pd.isna(run[name]):
        return ""
    return column_title(run[name]) if name == "cell_column" else str(run[name])


def superseded(records: Records, reasons: Mapping[str, str]) -> Page | None:
    """Runs that the tables leave out by a stated reason."""
    here = records.runs[records.runs["key"].isin(list(reasons))].to_dict("records")
    lines = [
        (
            *(experiment_title(run["experiment"]), Backed(what(run), [run["key"]]), words(run, "cell_column")),
            *(words(run, "seed"), percent(accuracy_of(run)), reasons[run["key"]]),
        )
        for run in here
    ]
    if not lines:
        return None
    said = "These were replaced. A table shows one, marked ‡, only while its cell has no other."
    names = ["experiment", "key", "cell_row", "cell_column", "seed", "final_accuracy"]
    data = pd.DataFrame(here)[names].assign(reason=[reasons[run["key"]] for run in here])
    headings = ("experiment", "run of", "", "seed", "scored", "why")
    return Page("Superseded runs", (said, table(headings, lines)), "", {"": data})


def accuracy_of(run: Mapping[Any, Any]) -> float | None:
    return None if pd.isna(run["final_accuracy"]) else float(run["final_accuracy"])


def memory(runs: pd.DataFrame) -> Page | None:
    """Bytes of training steps: rehearsed without data, by the papers' convention, and measured."""
    known = runs[runs["peak_live_bytes"].notna() & runs["measured_peak_bytes"].notna()]
    known = latest(known, MODEL_BATCH_METHOD)
    if known.empty:
        return None
    lines = []
    for run in known.to_dict("records"):
        rehearsed, measured, convention = (
            int(run[name]) for name in ("peak_live_bytes", "measured_peak_bytes", "total_bytes")
        )
        lines.append(
            (
                *(model_title(run["model"]), what(run), words(run, "batch_size"), run["device"]),
                mebibytes(convention),
                mebibytes(rehearsed),
                Backed(mebibytes(measured), [run["key"]]),
                f"{rehearsed / measured - 1:+.2%}",
                "–" if pd.isna(run[PROCESS]) else mebibytes(run[PROCESS]),
            )
        )
    counted = ("all_buffers_live", "peak_live", "measured", "peak_live's error", "process")
    headings = ("model", "method", "batch", "device", *counted)
    names = [*MODEL_BATCH_METHOD, "total_bytes", "peak_live_bytes", "measured_peak_bytes", PROCESS, "key"]
    return Page("Memory, predicted and measured", (table(headings, lines),), "", {"": known[names]})


def steps(runs: pd.DataFrame) -> Page | None:
    """Milliseconds of a step of each method on each machine."""
    known = runs[(runs["status"] == "finished") & (runs["steps"].fillna(0) > 0) & runs["cpu"].notna()]
    if known.empty:
        return None
    known = known.assign(
        machine=[machine(run) for run in known.to_dict("records")],
        step_seconds=known["train_seconds"] / known["steps"].astype(float),
        row=[what(run) for run in known.to_dict("records")],
    )
    places = ["model", "dataset", "row", "method.arithmetic", "method.noise", "batch_size"]
    machines = list(dict.fromkeys(known["machine"]))
    lines, data = [], []
    for place, here in known.groupby(places, sort=False, dropna=False):
        of_machine = {str(name): part for name, part in here.groupby("machine", sort=False)}
        model, dataset, row, arithmetic, noise, batch = map(written, place)
        numbers = f"{arithmetic} {noise}".strip().replace("_", " ")
        head = (model_title(model), dataset_title(dataset), row, numbers, batch)
        lines.append((*head, *(milliseconds(of_machine.get(name)) for name in machines)))
        data += [
            {**dict(zip(places, place, strict=True)), "machine": name, **seconds_fields(part)}
            for name, part in of_machine.items()
        ]
    headings = ("model", "data", "method", "numbers", "batch", *(f"{letter(i)} (ms)" for i in range(len(machines))))
    key = " ".join(f"{letter(number)}: {name}." for number, name in enumerate(machines))
    said = f"Milliseconds of training by the steps made in them: median of runs, lowest – highest. {key}"
    return Page("What a step costs, by machine", (said, table(headings, lines)), "", {"": pd.DataFrame(data)})


def written(part: Any) -> str:
    return "" if pd.isna(part) else str(part)


def letter(number: int) -> str:
    return f"M{number + 1}"


def milliseconds(runs: pd.DataFrame | None) -> str:
    if runs is None:
        return "–"
    times = 1000 * runs["step_seconds"]
    several = f" ({digits(times.min())} – {digits(times.max())})" if len(times) > 1 else ""
    return Backed(f"{digits(times.median())}{several}", runs["key"])


def digits(number: float) -> str:
    """Three digits, or all that are before the point."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def seconds_fields(runs: pd.DataFrame) -> dict[str, Any]:
    times = runs["step_seconds"]
    return {"median": times.median(), "low": times.min(), "high": times.max(), "runs": len(times)}


def rows(runs: pd.DataFrame, held: Mapping[str, float]) -> list[list[str]]:
    """The list of all runs: the address of each, then what `HEADINGS` say."""
    return [listed(run, held.get(run["key"], math.nan)) for run in runs.to_dict("records")]


def listed(run: Mapping[Any, Any], held: float) -> list[str]:
    accuracy = accuracy_of(run)
    budget = run["budget_bytes"]
    return [
        address(run["key"]),
        run["key"],
        experiment_title(run["experiment"]),
        what(run),
        words(run, "cell_column") or dataset_title(run["dataset"]),
        "" if pd.isna(budget) else budget_title(budget),
        words(run, "seed"),
        run["status"].replace("_", " "),
        "" if accuracy is None else percent(accuracy),
        "" if math.isnan(held) else f"{held / 2**20:.4g}",
        "" if pd.isna(run["train_seconds"]) else f"{run['train_seconds']:.4g}",
        "" if pd.isna(run["started_at"]) else run["started_at"][:16].replace("T", " "),
    ]


def joined(parts: Iterable[Records]) -> Records:
    """All of `parts` as one."""
    known: Sequence[Records] = list(parts)
    runs = pd.concat([one.runs for one in known], ignore_index=True)
    evals = pd.concat([one.evals for one in known], ignore_index=True)
    return Records(runs, evals, {key: record for one in known for key, record in one.full.items()})
