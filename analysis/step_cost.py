"""What a zeroth-order step of a language model costs beside its two forward passes: the record of `make bench`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .load import EXPERIMENTS
from .page import Page, Table, table
from .tables import counted

TYPES = {"float32": "fp32", "bfloat16": "bf16"}


def load_costs(experiments: Path = EXPERIMENTS) -> pd.DataFrame:
    """A row for each step of each model, number of tokens and type; of one measured again, the last."""
    path = experiments / "step_cost" / "results" / "language.csv"
    known = pd.read_csv(path)
    return known.drop_duplicates(["model", "sequences", "length", "dtype", "step"], keep="last")


def page(costs: pd.DataFrame) -> Page:
    """The ratios as a table for each model and type, a column for each number of tokens, and how to read them."""
    note = (
        "Medians of pairs measured in turn, with quartiles. Bound: two forward passes, and reading and writing all "
        "weights three times. Memory: the most bytes of tensors alive in a step, over the same of a forward pass."
    )
    parts: list[str | Table] = [note]
    for (model, dtype), here in costs.groupby(["model", "dtype"], sort=False):
        parts += [f"*{model}, {TYPES[str(dtype)]}*", block(here)]
    last = costs.iloc[-1]
    machine = f"{last['cpu']}, {counted(last['cores'], 'core')}, {counted(last['threads'], 'thread')}"
    commits = ", ".join(sorted(set(costs["commit"].str[:7])))
    behind = f"{machine}, torch {last['torch']} · commit {commits}"
    return Page("A step of MeZO as a multiple of two forward passes", tuple(parts), behind)


def block(costs: pd.DataFrame) -> Table:
    """The steps of one model in one type, in the order they were measured."""
    tokens = costs["sequences"] * costs["length"]
    columns = sorted(set(tokens))
    headers = ["step", *(f"{count:,} tokens" for count in columns), "memory"]
    rows = []
    for step in dict.fromkeys(costs["step"]):
        here = costs[costs["step"] == step].set_index(tokens[costs["step"] == step])
        cells = [ratio_text(here.loc[count]) if count in here.index else "–" for count in columns]
        rows.append([step, *cells, f"{here['peak'].max():.2f}"])
    return table(headers, rows)


def ratio_text(cost: pd.Series) -> str:
    return f"{cost['ratio']:.3f} ({cost['ratio_low']:.3f} – {cost['ratio_high']:.3f})"
