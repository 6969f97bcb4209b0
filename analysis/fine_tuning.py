"""What a memory budget buys in fine-tuning, in numbers: accuracy, seconds to a target, crossings, cost in forwards.

Times of several seeds are given as their median with the lowest and the highest. A miss counts as infinity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from .curves import by_method
from .load import PROCESS, Records
from .statistics import Estimate, Times, estimate, times_to, wilson
from .tables import why

ZERO_SHOT = "zero_shot"
GRID_POINTS = 500


@dataclass(frozen=True)
class Target:
    """What a model does untrained, and the accuracy that is clearly above it: the end of its 95% interval (Wilson)."""

    model: str
    zero_shot: float
    low: float
    accuracy: float
    examples: int


@dataclass(frozen=True)
class Contender:
    """A method under one budget. Costs are means over seeds; `note` says why there is no result, or for which seeds."""

    budget: str
    row: str
    model: str
    batch_size: int
    final: Estimate | None
    note: str
    to_target: Times
    steps: float
    forwards_in_theory: float  # per step
    forwards_measured: float  # per step: its seconds by those of one of its forward passes
    need_bytes: float  # of the longest prompts: what decided which model and batch fit
    process_bytes: float  # the most that the whole process held in measured steps; nan where that was not recorded
    runs: tuple[str, ...]  # their keys

    @property
    def forwards(self) -> float:
        """Forward-equivalents of one run, by theory."""
        return self.steps * self.forwards_in_theory


@dataclass(frozen=True)
class Crossing:
    """When a method without backpropagation overtakes one with it for good, over all pairs of their seeds."""

    budget: str
    row: str
    overtaken: str
    at: Times


def budgets_in(records: Records) -> list[str]:
    """Budgets by size, as they were named."""
    sized = records.runs.dropna(subset="budget_bytes")
    return sized.sort_values("budget_bytes")["memory_budget"].drop_duplicates().tolist()


def within(records: Records, budget: str) -> Records:
    return records.only(records.runs["memory_budget"] == budget)


def target_of(records: Records) -> Target | None:
    """The best that any model in `records` does before training; None where nothing was scored."""
    runs = records.runs.dropna(subset=["initial_accuracy", "split_examples"])
    if runs.empty:
        return None
    best = runs.sort_values("initial_accuracy", kind="stable").iloc[-1]
    examples = int(runs["split_examples"].max())
    low, high = wilson(best["initial_accuracy"], examples)
    return Target(best["model"], best["initial_accuracy"], low, high, examples)


def contenders(records: Records, theory: pd.DataFrame) -> list[Contender]:
    """Every method under every budget, in the order of the figures."""
    forwards = dict(zip(theory["row"], theory["value"], strict=True))
    target = target_of(records)
    found = []
    for budget in budgets_in(records):
        for row, part in by_method(within(records, budget)):
            found.append(contender(budget, row, part, target, forwards.get(row, math.nan)))
    return found


def contender(budget: str, row: str, part: Records, target: Target | None, forwards: float) -> Contender:
    finished = part.only(part.runs["status"] == "finished")
    others = part.runs[part.runs["status"] != "finished"].to_dict("records")
    runs = finished.runs if len(finished.runs) else part.runs
    examples = target.examples if target else None
    forward = runs["forward_seconds"] / runs["forward_passes"].astype(float)
    return Contender(
        budget=budget,
        row=row,
        model=", ".join(dict.fromkeys(runs["model"])),
        batch_size=int(runs["batch_size"].iloc[0]),
        final=estimate(finished.runs["final_accuracy"].tolist(), examples) if len(finished.runs) else None,
        note="; ".join(dict.fromkeys(map(reason, others))),
        to_target=times_to(target.accuracy, tracks(finished)) if target else Times((), 0),
        steps=float(runs["steps"].astype(float).mean()),
        forwards_in_theory=forwards,
        forwards_measured=float((runs["train_seconds"] / runs["steps"].astype(float) / forward).mean()),
        need_bytes=float(runs["peak_live_bytes"].fillna(runs["measured_peak_bytes"]).astype(float).max()),
        process_bytes=float(runs[PROCESS].astype(float).max()),
        runs=tuple(part.runs["key"]),
    )


def reason(run: Mapping[Any, Any]) -> str:
    """Why `run` has no result. The accounting that refused it is in its own words."""
    return f"does not fit: {run['reason']}" if run["status"] == "over_budget" else why(run)


def tracks(records: Records) -> list[np.ndarray]:
    """The course of each run: (n, 2), seconds of training and accuracy."""
    rows = records.evals.dropna(subset=["train_seconds", "accuracy"]).sort_values("step")
    courses = [track[["train_seconds", "accuracy"]].to_numpy(float) for _, track in rows.groupby("key", sort=True)]
    return [course for course in courses if len(course) > 1]


def crossings(records: Records) -> list[Crossing]:
    """Every method without backpropagation against every one with it, where both trained under the same budget."""
    found = []
    for budget in budgets_in(records):
        here = within(records, budget)
        finished = {row: part.only(part.runs["status"] == "finished") for row, part in by_method(here)}
        trained = {row: course for row, part in finished.items() if (course := tracks(part))}
        behind = [row for row in trained if backpropagates(finished[row].runs)]
        found += [
            Crossing(budget, row, other, overtaking(trained[row], trained[other]))
            for row, other in product([row for row in trained if row not in behind], behind)
        ]
    return found


def backpropagates(runs: pd.DataFrame) -> bool:
    """Whether any of `runs` made a backward pass, be it through its last layers alone."""
    return bool((runs["backward_passes"].fillna(0) > 0).any())


def overtaking(ones: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> Times:
    pairs = list(product(ones, others))
    times = [overtakes_at(one, other) for one, other in pairs]
    return Times(tuple(time for time in times if time is not None), len(pairs))


def overtakes_at(one: np.ndarray, other: np.ndarray) -> float | None:
    """From when on `one` is above `other` until the first of them ends; None if it is not in the end.

    Between evaluations both are taken to be straight lines; 0 says that it was above from the beginning.
    """
    end = min(one[-1, 0], other[-1, 0])
    grid = np.linspace(0.0, end, GRID_POINTS)
    ahead = np.interp(grid, *one.T) > np.interp(grid, *other.T)
    if not ahead[-1]:
        return None
    behind = np.flatnonzero(~ahead)
    return float(grid[behind[-1] + 1]) if len(behind) else 0.0
