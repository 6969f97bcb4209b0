"""Turn ended runs into committed results: `python -m analysis.collect elasticzo/table1`.

Adds to what is committed already; a row once there is only ever replaced by the same run, made again later.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tightfit.records.record import FINAL, write_atomically

from .load import (
    EVAL_COLUMNS,
    EXPERIMENTS,
    REAL,
    ROOT,
    RUN_COLUMNS,
    Records,
    load_results,
    load_runs,
    merge,
    results_paths,
)

ORDER = ["profile", "cell_column", "cell_row", "budget_bytes", "batch_size", "seed", "key"]
# Milliseconds; counts of up to 100,000 examples exactly; losses to what one seed can mean.
DIGITS = {"seconds": 3, "accuracy": 10, "loss": 6, "epoch": 4, "agreement": 6, "ties": 6}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m analysis.collect", description=__doc__)
    parser.add_argument("experiments", nargs="+", metavar="experiment", help="such as elasticzo/table1")
    parser.add_argument("--profile", default="paper", help="which runs to collect (default: paper)")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="the folder of runs")
    options = parser.parse_args(arguments)
    for experiment in options.experiments:
        print(collect(experiment, options.runs, options.profile))


def collect(experiment: str, runs: Path, profile: str = "paper", experiments: Path = EXPERIMENTS) -> str:
    """Write the committed results of `experiment` and its ended local runs of `profile` together; says what changed."""
    local = load_runs(runs, experiment)
    ended = local.only((local.runs["profile"] == profile) & local.runs["status"].isin(FINAL))
    committed = load_results(experiment, experiments)
    merged = in_order(merge(committed, rounded(ended)))
    added = len(merged.runs) - len(committed.runs)
    if merged.runs.empty:
        return f"{experiment}: no ended {profile} runs in {runs} and nothing committed; nothing written"
    for path, table in zip(results_paths(experiment, experiments), (merged.runs, merged.evals), strict=True):
        write_atomically(path, table.to_csv(index=False, lineterminator="\n").encode())
    return f"{experiment}: {len(committed.runs)} runs were committed, {added} added, {len(merged.runs)} now"


def rounded(records: Records) -> Records:
    return Records(round_columns(records.runs, RUN_COLUMNS), round_columns(records.evals, EVAL_COLUMNS))


def round_columns(table: pd.DataFrame, types: dict[str, str]) -> pd.DataFrame:
    """`table` without digits that no reader can use, so that the files stay small."""
    real = [name for name, kind in types.items() if kind == REAL]
    return table.round({name: DIGITS[name.split("_")[-1]] for name in real if name.split("_")[-1] in DIGITS})


def in_order(records: Records) -> Records:
    """The same rows in an order that does not depend on where they came from."""
    runs = records.runs.sort_values(ORDER, ignore_index=True)
    place = pd.Series(runs.index, runs["key"])
    evals = records.evals.assign(place=records.evals["key"].map(place))
    return Records(runs, evals.sort_values(["place", "step"], ignore_index=True).drop(columns="place"))


if __name__ == "__main__":
    main()
