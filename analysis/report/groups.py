"""Runs that differ in their seed alone, as one: what the answer compares."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..curves import baselines, curve
from ..load import PROCESS, Records, latest
from ..names import MOST_FREQUENT, Method
from ..statistics import Estimate, estimate
from ..tables import why
from .pictures import Line

PEAK_LIVE = "peak_live"  # the accounting of budgets that rehearses steps


BESIDE = {  # columns of runs: their heading, and how a number is written
    "final_macro_f1": ("macro F1", "{:.3f}"),
    "final_matthews": ("Matthews", "{:.3f}"),
    "majority_accuracy": (MOST_FREQUENT, "{:.2%}"),
}


@dataclass(frozen=True)
class Group:
    """What several seeds of one method came to under one budget. nan: not known.

    note: why there is no result, or for which seeds. held_bytes: what counts against the budget; measured_bytes: the
    most bytes of tensors alive in real steps; process_bytes: of the whole process meanwhile. seconds: of training, mean
    over seeds. beside: accuracy, what else is on record of how right answers are, by its heading: see `BESIDE`.
    baselines: what always giving the most frequent class is right for, where that is on record.
    """

    name: str
    drawn: Method
    facet: Any
    settings: tuple[str, ...]
    final: Estimate | None
    note: str
    held_bytes: float
    measured_bytes: float
    process_bytes: float
    batch_size: str
    seconds: float
    beside: Mapping[str, str]
    baselines: Sequence[float]
    course: Line | None
    runs: tuple[str, ...]


def held_bytes(record: Mapping[str, Any]) -> float:
    """The bytes of a run that counted against its budget, by the accounting that decided; nan where none was made."""
    memory = record.get("memory") or {}
    decided_by = ((record.get("config") or {}).get("memory_budget") or {}).get("decided_by")
    convention = (memory.get("analytic") or {}).get("total")
    rehearsed = memory.get("peak_live_bytes")
    first, second = (rehearsed, convention) if decided_by == PEAK_LIVE else (convention, rehearsed)
    known = [size for size in (first, second, memory.get("measured_peak_bytes")) if size is not None]
    return float(known[0]) if known else math.nan


def grouped(
    records: Records,
    by: Sequence[str],
    facet: str | None,
    x: str,
    named: Callable[[Sequence[Any]], tuple[str, Method]],
) -> list[Group]:
    """A group for each value of `by` and `facet`, in the order in which they come; of each seed the latest run.

    x: the column of evaluations that courses are over. named: what a group is called and how it is drawn.
    """
    places = [*by, *([facet] if facet else [])]
    runs = latest(records.runs.assign(**{"": ""}), [*places, "seed", "split"])
    scored = {str(key): rows for key, rows in records.evals.groupby("key", sort=False)}
    found = []
    for place, here in runs.groupby(places or [""], sort=False, dropna=False):
        values = tuple(place if isinstance(place, tuple) else (place,))
        name, drawn = named(values[: len(by)])
        part = Records(here, together(scored.get(key) for key in here["key"]), records.full)
        found.append(group(part, name, drawn, values[len(by)] if facet else None, values[: len(by)], x))
    return found


def together(frames: Iterable[pd.DataFrame | None]) -> pd.DataFrame:
    known = [frame for frame in frames if frame is not None]
    return pd.concat(known) if known else pd.DataFrame({"key": pd.Series(dtype="str")})


def group(part: Records, name: str, drawn: Method, facet: Hashable, settings: Sequence[Any], x: str) -> Group:
    finished = part.runs[part.runs["status"] == "finished"].dropna(subset=["final_accuracy"])
    others = part.runs.drop(finished.index)
    reasons = "; ".join(dict.fromkeys(map(why, others.to_dict("records"))))
    note = f"without {len(others)} of {len(part.runs)} seeds: {reasons}" if reasons and len(finished) else reasons
    examples = finished["split_examples"].min()
    held = [held_bytes(part.full[key]) for key in part.runs["key"]]
    return Group(
        name=name,
        drawn=drawn,
        facet=facet,
        settings=tuple(map(written, settings)),
        final=estimate(finished["final_accuracy"].tolist(), None if pd.isna(examples) else int(examples))
        if len(finished)
        else None,
        note=note,
        held_bytes=float(np.nanmax(held)) if not all(map(math.isnan, held)) else math.nan,
        measured_bytes=float(part.runs["measured_peak_bytes"].astype(float).max()),
        process_bytes=float(part.runs[PROCESS].astype(float).max()),
        batch_size=", ".join(str(size) for size in sorted(set(part.runs["batch_size"].dropna()))),
        seconds=float(finished["train_seconds"].mean()),
        beside=beside(finished),
        baselines=baselines(finished),
        course=course(Records(finished, part.evals[part.evals["key"].isin(finished["key"])]), name, drawn, x),
        runs=tuple(part.runs["key"]),
    )


def beside(finished: pd.DataFrame) -> dict[str, str]:
    """Means over the runs that have it on record."""
    means = {heading: float(finished[column].astype(float).mean()) for column, (heading, _) in BESIDE.items()}
    return {heading: form.format(means[heading]) for heading, form in BESIDE.values() if not math.isnan(means[heading])}


def course(part: Records, name: str, drawn: Method, x: str) -> Line | None:
    """The mean of the seeds over `x` with the band from the lowest to the highest; None where nothing was scored."""
    if part.evals.empty:
        return None
    known = curve(part, name, x, "accuracy", log=x == "train_seconds")
    if known is None:
        return None
    return Line(name, drawn.color, drawn.dash, known.x, known.mean, known.low, known.high)


def written(value: Any) -> str:
    """A setting as a table has it; `–` where a run has none."""
    if isinstance(value, list):
        return ", ".join(map(written, value))
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def front(groups: Iterable[Group]) -> list[Group]:
    """Those that no other beats with as few bytes: from the least memory up, each more accurate than all before it."""
    best: list[Group] = []
    known = [one for one in groups if one.final is not None and not math.isnan(one.held_bytes)]
    for one in sorted(known, key=lambda one: (one.held_bytes, -accuracy(one))):
        if not best or accuracy(one) > accuracy(best[-1]):
            best.append(one)
    return best


def accuracy(one: Group) -> float:
    return one.final.mean if one.final else -math.inf
