"""What training gained on the same examples before and after, as a table: the records of `tightfit.run.gain`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pandas as pd

from .load import EXPERIMENTS
from .names import in_order, method, model_title
from .page import Page, Table, table
from .statistics import estimate, improvement
from .tables import ours_text

HEADERS = ("budget", "method", "model", "before", "after ± (n)", "difference of each seed, 95% interval")


def load_gains(experiment: str, experiments: Path = EXPERIMENTS) -> pd.DataFrame:
    """What is committed for `experiment`, a row for each run; empty where there is nothing."""
    paper, _, name = experiment.partition("/")
    path = experiments / paper / "results" / f"{name}_gains.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["key"])


def page(gains: pd.DataFrame, without: Sequence[str] = ()) -> Page:
    """A line for each method under each budget, with the difference that each of its seeds made.

    without: the rows that trained without backpropagation; each is set against every other one.
    """
    examples = ", ".join(f"{count:,}" for count in sorted(set(gains["examples"])))
    note = (
        f"All {examples} test sentences, before and after training, by the weights that each run ended with. "
        "The interval is of the paired difference (Wald), for sentences drawn at random: of the "
        "test set only, one seed each. ± is of seeds only."
    )
    rows = table(HEADERS, [line(*group) for group in grouped(gains)])
    commits = ", ".join(sorted({str(commit)[:7] for commit in gains["commit"]}))
    parts = (note, rows, pairs_table(gains, without))
    return Page("What training gained, sentence by sentence", parts, f"scored at commit {commits}")


def pairs_table(gains: pd.DataFrame, without: Sequence[str]) -> Table | str:
    """In how many pairs of seeds a method without backpropagation ends above one with it; empty where none is."""
    groups = grouped(gains)
    lines = [
        [budget, method(row).title, method(other).title, *ends_above(list(runs["after"]), list(others["after"]))]
        for budget, row, runs in groups
        for where, other, others in groups
        if where == budget and row in without and other not in without
    ]
    headings = ("ends above, pairs of seeds", "probability of ending above, 95% interval")
    return table(("budget", "without backpropagation", "with it", *headings), lines) if lines else ""


def ends_above(ones: Sequence[int], others: Sequence[int]) -> tuple[str, str]:
    """`4 of 9` and `44% (0 – 100)`: the probability by all pairs, a tie half, by bootstrap of both methods' seeds."""
    likely, above = improvement(ones, others), sum(one > other for one, other in product(ones, others))
    interval = "all pairs agree" if math.isnan(likely.low) else f"{100 * likely.low:.0f} – {100 * likely.high:.0f}"
    return f"{above} of {len(ones) * len(others)}", f"{100 * likely.probability:.0f}% ({interval})"


def grouped(gains: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Budget, method and their runs, in the order of the tables."""
    groups = {(budget, row): runs for (budget, row), runs in gains.sort_values("seed").groupby(["budget", "cell_row"])}
    budgets, rows = dict.fromkeys(gains["budget"]), in_order(set(gains["cell_row"]))
    return [(*names, groups[names]) for names in product(budgets, rows) if names in groups]


def line(budget: str, row: str, runs: pd.DataFrame) -> list[str]:
    before = sorted(set(runs["before"] / runs["examples"]))
    beginnings = f"{100 * before[0]:.1f}" + (f" – {100 * before[-1]:.1f}" if len(before) > 1 else "")
    differences = "; ".join(
        f"{100 * run['difference']:+.1f} ({100 * run['low']:+.1f} – {100 * run['high']:+.1f})"
        for run in runs.to_dict("records")
    )
    models = ", ".join(dict.fromkeys(map(model_title, runs["model"])))
    after = ours_text(estimate((runs["after"] / runs["examples"]).tolist()))
    return [budget, method(row).title, models, beginnings, after, differences]
