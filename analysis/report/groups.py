"""Runs that differ in their seed alone, as one: what the answer compares."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..curves import Track, baselines, on_grid, tracks
from ..load import PROCESS, Records, latest
from ..names import MOST_FREQUENT, Method
from ..statistics import RESAMPLES, Estimate, estimate
from ..tables import why
from .pictures import Line

MOST_DRAWS, FEWEST = 10_000_000, 1_000  # of accuracies in all intervals of a study; and resamples, however many runs
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
    records: Records, by: Sequence[str], facet: str | None, x: str, named: Callable[[Sequence[Any]], tuple[str, Method]]
) -> list[Group]:
    """A group for each value of `by` and `facet`, in the order in which they come; of each seed the latest run.

    x: the column of evaluations that courses are over. named: what a group is called and how it is drawn.
    """
    places = [*by, *([facet] if facet else [])]
    whole = records.runs.copy()  # one block a kind: a column more is then no matter
    runs = latest(whole.assign(**{"": ""}), [*places, "seed", "split"])
    numbers = runs.groupby(places or [""], sort=False, dropna=False).ngroup()
    members: dict[int, list[Mapping[Any, Any]]] = {}
    for number, run in zip(numbers, runs.to_dict("records"), strict=True):
        members.setdefault(number, []).append(run)
    scored = tracks(records.evals, x, "accuracy")
    resamples = min(max(MOST_DRAWS // max(len(runs), 1), FEWEST), RESAMPLES)
    found = []
    for here in members.values():
        values = tuple(here[0][place] for place in places)
        name, drawn = named(values[: len(by)])
        known = Members(here, [held_bytes(records.full[run["key"]]) for run in here], scored, resamples)
        found.append(group(known, name, drawn, values[len(by)] if facet else None, values[: len(by)], x))
    return found


@dataclass(frozen=True)
class Members:
    """The runs of a group, as rows, and what each held; tracks: of all runs; resamples: of an interval."""

    runs: Sequence[Mapping[Any, Any]]
    held: Sequence[float]
    tracks: Mapping[str, Track]
    resamples: int


def group(part: Members, name: str, drawn: Method, facet: Hashable, settings: Sequence[Any], x: str) -> Group:
    finished = [run for run in part.runs if run["status"] == "finished" and not pd.isna(run["final_accuracy"])]
    kept = {run["key"] for run in finished}
    others = [run for run in part.runs if run["key"] not in kept]
    reasons = "; ".join(dict.fromkeys(map(why, others)))
    note = f"without {len(others)} of {len(part.runs)} seeds: {reasons}" if reasons and finished else reasons
    examples = [int(run["split_examples"]) for run in finished if not pd.isna(run["split_examples"])]
    finals = [run["final_accuracy"] for run in finished]
    return Group(
        name=name,
        drawn=drawn,
        facet=facet,
        settings=tuple(map(written, settings)),
        final=estimate(finals, min(examples, default=None), part.resamples) if finals else None,
        note=note,
        held_bytes=max(part.held, key=lambda size: (not math.isnan(size), size)),
        measured_bytes=most(part.runs, "measured_peak_bytes"),
        process_bytes=most(part.runs, PROCESS),
        batch_size=", ".join(str(size) for size in sorted(set(known(part.runs, "batch_size")))),
        seconds=mean(finished, "train_seconds"),
        beside=beside(finished),
        baselines=baselines(known(finished, "majority_accuracy")),
        course=course(sorted(kept), part.tracks, name, drawn, x),
        runs=tuple(run["key"] for run in part.runs),
    )


def known(runs: Sequence[Mapping[Any, Any]], column: str) -> list[Any]:
    return [run[column] for run in runs if not pd.isna(run[column])]


def most(runs: Sequence[Mapping[Any, Any]], column: str) -> float:
    return max(map(float, known(runs, column)), default=math.nan)


def mean(runs: Sequence[Mapping[Any, Any]], column: str) -> float:
    values = known(runs, column)
    return float(np.mean(values)) if values else math.nan


def beside(finished: Sequence[Mapping[Any, Any]]) -> dict[str, str]:
    """Means over the runs that have it on record."""
    means = {heading: mean(finished, column) for column, (heading, _) in BESIDE.items()}
    return {heading: form.format(means[heading]) for heading, form in BESIDE.values() if not math.isnan(means[heading])}


def course(keys: Iterable[str], scored: Mapping[str, Track], name: str, drawn: Method, x: str) -> Line | None:
    """The mean of the seeds over `x` with the band from the lowest to the highest; None where nothing was scored."""
    found = on_grid([scored[key] for key in keys if key in scored], log=x == "train_seconds")
    if found is None:
        return None
    grid, values = found
    return Line(name, drawn.color, drawn.dash, grid, values.mean(0), values.min(0), values.max(0))


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
