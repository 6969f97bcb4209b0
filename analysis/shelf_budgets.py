"""The shelf within budgets: of the same runs, what trains best in as many bytes as a budget has.

A run has the same batch and length whatever the budget is, so one run answers for every budget that it fits. What fits
is the planner's answer, the peak of a step rehearsed without data; it stands beside the measured one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .claims import READING as CLAIMS
from .claims import Verdict, claims, claims_table, verdicts
from .load import EXPERIMENTS, Records
from .names import column_title, method, model_title, subject
from .page import Backed, Page, Table, table
from .papers import budgets
from .shelf import BASELINE, Standing, above_text, front, standings
from .tables import interval_text, ours_text, profile_banner, provenance

BACKPROPAGATED = "bp_adam"  # what savers of backpropagation's memory save it of
HEADERS = (
    *("method", "model", "planned", "measured", "process", "accuracy ± (n)", "95% interval", "above what it extends"),
    *("seconds", "trials", "best of its bytes and seconds"),
)
MB = 10**6


@dataclass(frozen=True)
class Contender:
    """A method on a model, and how it stands. `column` is the model's, as the experiment's files have it."""

    column: str
    standing: Standing

    @property
    def title(self) -> str:
        return method(self.standing.row).title

    @property
    def trained(self) -> str:
        return trained(self.column)

    def fits(self, budget: float) -> bool:
        return self.standing.planned_bytes <= budget


def trained(column: str) -> str:
    """The model of a column, or what of it is trained where columns differ by that."""
    title = column_title(column)
    return model_title(column) if title == column else title


def contenders(records: Records, experiments: Path = EXPERIMENTS) -> list[Contender]:
    """All of an experiment, from the most accurate to the least, those without a result last."""
    backward = set(records.runs.loc[records.runs["method.backpropagates"].eq(True), "cell_row"])

    def extends(row: str) -> str:
        return BACKPROPAGATED if row in backward else BASELINE

    found = [
        Contender(column, one)
        for column in sorted(set(records.runs["cell_column"].dropna()))
        for one in standings(records.only(records.runs["cell_column"] == column), experiments, extends)
    ]
    return sorted(found, key=lambda one: -one.standing.final.mean if one.standing.final else math.inf)


def best_within(found: Sequence[Contender], budget: float) -> list[Contender]:
    """Of those that fit and finished the ones than which none is as good in accuracy, bytes and seconds."""
    ended = [one for one in found if one.fits(budget) and one.standing.final]
    points = [
        (one.standing.measured_bytes, one.standing.seconds, one.standing.final.mean)
        for one in ended
        if one.standing.final
    ]
    return [ended[place] for place in sorted(front(points))]


def page(records: Records, published: pd.DataFrame, profile: str) -> Page:
    """A table for each budget of the experiment, and how to read them. Nothing is published at these lengths."""
    title = "The shelf within budgets"
    if records.runs.empty:
        return Page(title, (), provenance(records.runs))
    found = contenders(records)
    sizes = budgets(str(records.runs["experiment"].iloc[0]))
    parts: list[str | Table] = [profile_banner(profile, records.runs)]
    for size in sizes:
        parts += [f"**{size_text(size)}**: {answer(found, size)}", budget_table(found, size)]
    named = f"{title}: {subject(records.runs)}"
    numbers = pd.concat([data(found, size, profile) for size in sizes], ignore_index=True)
    parts += [READING, claims_table(by_model(found)), CLAIMS]
    return Page(named, tuple(parts), provenance(records.runs), {"": numbers})


def by_model(found: Sequence[Contender]) -> dict[str, list[Verdict]]:
    """What the runs say of the claims, on each model of its own."""
    said, columns = claims(), sorted({one.column for one in found})
    return {
        trained(column): verdicts([one.standing for one in found if one.column == column], said) for column in columns
    }


READING = (
    "Every run does the work of as many forward passes on batches of one size, so a run is the same in every budget "
    "that it fits. Planned: the peak of a step rehearsed without data, by which it fits or not; measured: that of real "
    "steps; process: of the whole process meanwhile, Python and PyTorch among it, which no budget here is held to. "
    "Above what it extends: of all pairs of seeds, with a 95% interval (bootstrap); methods that backpropagate "
    "extend Adam, the others MeZO, each on its own model. Best of its bytes and seconds: no other that fits is as "
    "accurate in as few measured bytes and seconds."
)


def answer(found: Sequence[Contender], budget: float) -> str:
    """What the planner says of a budget, and whether what was measured agrees, in a sentence or two."""
    fitting = [one for one in found if one.fits(budget)]
    measured = [one for one in fitting if not math.isnan(one.standing.measured_bytes)]
    beyond = [one.title for one in measured if one.standing.measured_bytes > budget]
    told = f"by plan {len(fitting)} of {len(found)} fit. "
    if not measured:
        return f"{told}None of them was measured."
    if beyond:
        return f"{told}Measured above it: {', '.join(beyond)}."
    return f"{told}No measured peak of these is above it."


def budget_table(found: Sequence[Contender], budget: float) -> Table:
    """Those that fit by their accuracy, then those that do not, by their need."""
    best = best_within(found, budget)
    fitting = [one for one in found if one.fits(budget)]
    others = sorted((one for one in found if one not in fitting), key=lambda one: one.standing.planned_bytes)
    return table(HEADERS, [line(one, one in best) for one in fitting] + [blank(one) for one in others])


def line(one: Contender, is_best: bool) -> list[str]:
    standing = one.standing
    result = f"{ours_text(standing.final)} {standing.note}".strip() if standing.final else standing.note or "–"
    return [
        *names_and_bytes(one),
        Backed(result, standing.runs),
        interval_text(standing.final) or "–",
        above_text(standing.above),
        "–" if math.isnan(standing.seconds) else f"{standing.seconds:.3g}",
        str(standing.trials),
        "yes" if is_best else "",
    ]


def blank(one: Contender) -> list[str]:
    reason = "not planned" if math.isnan(one.standing.planned_bytes) else "does not fit"
    return [*names_and_bytes(one), Backed(reason, one.standing.runs), "–", "–", "–", str(one.standing.trials), ""]


def names_and_bytes(one: Contender) -> list[str]:
    standing = one.standing
    sizes = (standing.planned_bytes, standing.measured_bytes, standing.process_bytes)
    return [one.title, one.trained, *map(size_text, sizes)]


def size_text(size: float) -> str:
    """Bytes with three digits, in the unit that budgets of language models are given in."""
    return "–" if math.isnan(size) else f"{size / MB:,.3g} MB" if size < 1000 * MB else f"{size / MB:,.0f} MB"


def data(found: Sequence[Contender], budget: float, profile: str) -> pd.DataFrame:
    """A row for each contender within `budget`; accuracies and probabilities are fractions."""
    best = best_within(found, budget)
    plain = ("row", "against", "planned_bytes", "measured_bytes", "process_bytes", "seconds", "trials", "note")
    parts = ("mean", "spread", "n", "low", "high", "interval")
    rows = [
        {
            "profile": profile,
            "budget_bytes": int(budget),
            "column": one.column,
            "fits": one.fits(budget),
            "best": one in best,
            **{name: getattr(one.standing, name) for name in plain},
            **{part: getattr(one.standing.final, part) if one.standing.final else math.nan for part in parts},
            "above": one.standing.above.probability if one.standing.above else math.nan,
        }
        for one in found
    ]
    return pd.DataFrame(rows).round(6)
