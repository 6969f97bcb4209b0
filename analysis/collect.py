"""Turn ended runs into committed results: `python -m analysis.collect elasticzo/table1`.

Adds to what is committed already: records of runs, one a line, and a table of evaluations. A run once there is only
ever replaced by the same run, made again later.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tightfit.records.record import FINAL, write_atomically

from .load import EVAL_COLUMNS, EXPERIMENTS, REAL, RUNS, Records, load_results, load_runs, merge, results_paths

PRIVATE = ("paths", "tracker")  # parts of a configuration
ORDER = ["profile", "cell_column", "cell_row", "budget_bytes", "batch_size", "seed", "key"]
# Milliseconds; counts of up to 100,000 examples exactly; losses to what one seed can mean.
DIGITS = {"seconds": 3, "accuracy": 10, "loss": 6, "epoch": 4, "agreement": 6, "ties": 6}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m analysis.collect", description=__doc__)
    parser.add_argument("experiments", nargs="+", metavar="experiment", help="such as elasticzo/table1")
    parser.add_argument("--profile", default="paper", help="which runs to collect (default: paper)")
    parser.add_argument("--runs", type=Path, default=RUNS, help="the folder of runs")
    options = parser.parse_args(arguments)
    for experiment in options.experiments:
        print(collect(experiment, options.runs, options.profile))


def collect(experiment: str, runs: Path, profile: str = "paper", experiments: Path = EXPERIMENTS) -> str:
    """Write the committed results of `experiment` and its ended local runs of `profile` together; says what changed."""
    local = load_runs(runs, experiment)
    ended = local.only((local.runs["profile"] == profile) & local.runs["status"].isin(FINAL))
    committed = load_results(experiment, experiments)
    full = {key: rounded(for_all(ended.full[key])) for key in ended.runs["key"]}
    merged = in_order(merge(committed, Records(ended.runs, round_columns(ended.evals, EVAL_COLUMNS), full)))
    added = len(merged.runs) - len(committed.runs)
    if merged.runs.empty:
        return f"{experiment}: no ended {profile} runs in {runs} and nothing committed; nothing written"
    records, evaluations = results_paths(experiment, experiments)
    write_atomically(records, "".join(line(merged.full[key]) for key in merged.runs["key"]).encode())
    write_atomically(evaluations, written(merged.evals).to_csv(index=False, lineterminator="\n").encode())
    return f"{experiment}: {len(committed.runs)} runs were committed, {added} added, {len(merged.runs)} now"


def written(evals: pd.DataFrame) -> pd.DataFrame:
    """`evals` without the column that came later, where none of them has it: older files stay as they are."""
    return evals if evals["forward_passes"].notna().any() else evals.drop(columns="forward_passes")


def line(record: Mapping[str, Any]) -> str:
    """`record` as a line of a file whose differences are small."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def for_all(record: Mapping[str, Any]) -> dict[str, Any]:
    """`record` without what concerns the collector alone: where runs are kept, and which account mirrors them."""
    config = {name: value for name, value in record["config"].items() if name not in PRIVATE}
    command = [word for word in record["command"] if word.partition("=")[0].lstrip("+~").split(".")[0] not in PRIVATE]
    return {**record, "config": config, "command": command}


def rounded(record: Mapping[str, Any]) -> dict[str, Any]:
    """`record` without digits that no reader can use, so that the files stay small."""
    phases = {f"{phase}_seconds": seconds for phase, seconds in record["phase_seconds"].items()}
    shortened = {name.removesuffix("_seconds"): value for name, value in rounded_by_name(phases).items()}
    return {**record, "summary": rounded_by_name(record["summary"]), "phase_seconds": shortened}


def rounded_by_name(numbers: Mapping[str, Any]) -> dict[str, Any]:
    places = {name: DIGITS.get(name.split("_")[-1]) for name in numbers}
    return {
        name: round(value, places[name]) if isinstance(value, float) and places[name] is not None else value
        for name, value in numbers.items()
    }


def round_columns(table: pd.DataFrame, types: dict[str, str]) -> pd.DataFrame:
    """`table` as `rounded` has a record."""
    real = [name for name, kind in types.items() if kind == REAL]
    return table.round({name: DIGITS[name.split("_")[-1]] for name in real if name.split("_")[-1] in DIGITS})


def in_order(records: Records) -> Records:
    """The same rows in an order that does not depend on where they came from."""
    runs = records.runs.sort_values(ORDER, ignore_index=True)
    place = pd.Series(runs.index, runs["key"])
    evals = records.evals.assign(place=records.evals["key"].map(place))
    evals = evals.sort_values(["place", "step"], ignore_index=True).drop(columns="place")
    return Records(runs, evals, records.full)


if __name__ == "__main__":
    main()
