"""Recorded runs as two tidy tables, whether they come from run folders or from committed results.

`runs` has one row per run, `evals` one row per evaluation; `key` joins them. Sizes are in bytes, times in
seconds, accuracies are fractions. Beside the columns that every run has there is one for each setting of a run's
parts, by its place in the configuration: `optimizer.lr`, `optimizer.direction.noise`, `training.batch_size`, …
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from tightfit.records.record import FINAL, SCHEMA, RunRecord, check_key, read_sealed_evals, read_standing

from .evaluations import Evaluations, examples_behind, scores

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = ROOT / "experiments"
WORK = ROOT if (ROOT / "src").exists() else Path()  # of runs and figures: the checkout, or else the current folder
RUNS = Path(os.environ.get("TIGHTFIT_RUNS") or WORK / "runs")  # as in conf/config.yaml

TEXT, COUNT, REAL, FLAG = "str", "Int64", "float64", "boolean"
MEMORY_KINDS = ("parameters", "activations", "gradients", "errors", "optimizer_state")
# Rehearsed without data, where that decides about a budget, and measured.
PEAKS = ("peak_live_bytes", "peak_live_inference_bytes", "measured_peak_bytes", "measured_inference_peak_bytes")
PROCESS = "process_peak_bytes"  # of the whole process in those measured steps: Python, PyTorch and the model among it
BASELINE = "enforced_baseline_bytes"  # what a process held before the budget that it was kept within
JOIN = " + "  # between the commits, or processors, that share a run
MACHINE = ("cpu", "capability", "device", "device_capability", "python", "torch")
SETTINGS_OF = ("optimizer", "adapter", "model", "dataset", "training")  # parts whose settings are columns
PHASES = ("forward", "backward", "perturb", "update")
SCORES = ("final_accuracy", "best_accuracy", "initial_accuracy", "final_loss", "final_macro_f1", "final_matthews")
RUN_COLUMNS = {
    **dict.fromkeys(("key", "experiment", "profile", "cell_row", "cell_column"), TEXT),
    **dict.fromkeys(("optimizer", "dataset", "model"), TEXT),
    "method.backpropagates": FLAG,  # what the method says of itself, see `tightfit.run.facts`
    **dict.fromkeys(("method.queries", "method.forward_passes", "method.backward_passes"), COUNT),
    **{f"method.{fact}": TEXT for fact in ("noise", "rule", "descent", "activations", "adapter", "arithmetic")},
    **dict.fromkeys(("seed", "batch_size"), COUNT),
    **dict.fromkeys(("epochs", "fraction"), REAL),  # of the full protocol, and the part of it that was run
    "memory_budget": TEXT,
    "budget_bytes": COUNT,
    **dict.fromkeys(("status", "reason", "split"), TEXT),
    "split_examples": COUNT,
    **dict.fromkeys(SCORES, REAL),
    "majority_accuracy": REAL,  # of always giving the most frequent class
    **dict.fromkeys(("train_seconds", "train_cpu_seconds", "eval_seconds"), REAL),
    **dict.fromkeys(("steps", "forward_passes", "backward_passes"), COUNT),
    **{f"{kind}_bytes": COUNT for kind in (*MEMORY_KINDS, "total")},
    **dict.fromkeys((*PEAKS, PROCESS, BASELINE), COUNT),
    **{f"{phase}_seconds": REAL for phase in PHASES},
    "commit": TEXT,
    "dirty": FLAG,
    "cpu": TEXT,
    "cores": COUNT,
    "threads": COUNT,
    **dict.fromkeys(("device", "capability", "device_capability", "python", "torch", "started_at"), TEXT),
    "protocol": COUNT,
}
EVAL_COLUMNS = {
    "key": TEXT,
    "step": COUNT,
    **dict.fromkeys(("epoch", "train_seconds", "train_loss", "accuracy", "loss"), REAL),
    **dict.fromkeys(("sign_agreement", "sign_ties"), REAL),  # shares of all steps so far, where they were audited
    "forward_passes": COUNT,  # so far; records collected earlier do not tell
}


# A run by its name, and what reads its record and its evaluations.
Found = tuple[str, Callable[[], tuple[RunRecord, Sequence[Mapping[str, Any]]]]]


@dataclass(frozen=True)
class Records:
    """Runs and their evaluations; `full` has the whole record of each run, and perhaps of others, by its key."""

    runs: pd.DataFrame
    evals: pd.DataFrame
    full: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def only(self, chosen: pd.Series) -> Records:
        """The runs where `chosen` is true, with their evaluations."""
        runs = self.runs[chosen.astype(bool)]
        return Records(runs, self.evals[self.evals["key"].isin(runs["key"])], self.full)

    def of_profile(self, profile: str) -> Records:
        return self.only(self.runs["profile"] == profile)


def load_runs(folder: Path, experiment: str) -> Records:
    """What the run folders `folder/experiment/*` hold; one warning for each that cannot be read."""
    return load_folders(path.parent for path in sorted((folder / experiment).glob("*/run.json")))


def load_folders(folders: Iterable[Path]) -> Records:
    """The runs in `folders`; one warning for each that cannot be read."""
    return load_each((str(folder), partial(read_folder, folder)) for folder in folders)


def load_each(found: Iterable[Found]) -> Records:
    """The runs that each of `found` reads; one warning, by its name, for each that cannot be read."""
    full, evals = [], Evaluations(name for name in EVAL_COLUMNS if name != "key")
    for name, read in found:
        try:
            completed, scored = told(*read())
            run_row(completed)
            evals.add(completed["key"], scored)
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            warnings.warn(f"{name} is left out: {type(error).__name__}: {error}", stacklevel=2)
        else:
            full.append(completed)
    return Records(run_table(full), evals.table(EVAL_COLUMNS), by_key(full))


def load_run(folder: Path) -> dict[str, Any]:
    """The record of the run in `folder`. Raises ValueError where it or its evaluations are damaged."""
    return told(*read_folder(folder))[0]


def read_folder(folder: Path) -> tuple[RunRecord, list[dict[str, Any]]]:
    """The record of the run in `folder`, and its evaluations. Raises ValueError where they are damaged.

    The evaluations of an ended run are those that it had made; older records do not tell.
    """
    record = read_standing(folder)
    assert record is not None
    check_key(record, folder)
    seal = record.evaluations if record.status in FINAL else {}
    return record, read_sealed_evals(folder, seal)


def told(record: RunRecord, rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """`record` with what its evaluations tell of the whole run, so that tables of runs need them no more; and these."""
    scored = scores(rows, record.dataset.get("scored", "test"))
    dataset, summary = dict(record.dataset), dict(record.summary)
    if "scored_size" not in dataset:
        dataset["scored_size"] = examples_behind(scored["accuracy"])
    if rows:
        summary["initial_accuracy"] = scored["accuracy"][0]
        summary |= {name: rows[-1][name] for name in ("forward_passes", "backward_passes")}
    return {**vars(record), "dataset": dataset, "summary": summary}, scored


def by_key(records: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {record["key"]: record for record in records}


def load_results(experiment: str, experiments: Path = EXPERIMENTS) -> Records:
    """The committed results of `experiment`; empty where none were committed."""
    runs, evals = results_paths(experiment, experiments)
    full = read_records(runs)
    return Records(run_table(full), read_csv(evals, EVAL_COLUMNS), by_key(full))


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records in `path`, one a line; none where there is no such file. Raises ValueError for what is no record."""
    records = []
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path} is damaged in line {number} ({error}); restore the file") from error
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            raise ValueError(f"{path} has no record of schema {SCHEMA} in line {number}; restore the file")
        records.append(record)
    return records


def results_paths(experiment: str, experiments: Path = EXPERIMENTS) -> tuple[Path, Path]:
    """Where the results of `paper/name` are committed: records of runs, one a line, and evaluations."""
    paper, _, name = experiment.partition("/")
    folder = experiments / paper / "results"
    return folder / f"{name}.jsonl", folder / f"{name}_evals.csv"


def load_published(experiment: str, experiments: Path = EXPERIMENTS) -> pd.DataFrame:
    """The published numbers that `experiment` answers: row, column, value, unit, source; empty where there are none."""
    columns = {"row": TEXT, "column": TEXT, "value": REAL, "unit": TEXT, "source": TEXT}
    return read_csv(experiments / f"{experiment}.csv", columns)


def merge(older: Records, newer: Records) -> Records:
    """All runs of both; of a run in both, the one that was started last (the `newer` where that is the same)."""
    started = older.runs.set_index("key")["started_at"].reindex(newer.runs["key"]).fillna("").to_numpy()
    taken = newer.only(pd.Series(newer.runs["started_at"].fillna("").to_numpy() >= started, newer.runs.index))
    kept = older.only(~older.runs["key"].isin(taken.runs["key"]))
    full = {**older.full, **{key: newer.full[key] for key in taken.runs["key"] if key in newer.full}}
    pairs = ((kept.runs, taken.runs, RUN_COLUMNS), (kept.evals, taken.evals, EVAL_COLUMNS))
    return Records(*(pd.concat([old, new], ignore_index=True).astype(types) for old, new, types in pairs), full)


def latest(runs: pd.DataFrame, per: Sequence[str]) -> pd.DataFrame:
    """For each value of `per` the run started last: one of an outdated configuration is not another seed."""
    return runs.sort_values("started_at", kind="stable").drop_duplicates(list(per), keep="last").sort_index()


def run_table(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each of `records`: the columns of all runs, then the settings that any of them had."""
    rows = [run_row(record) for record in records]
    settings = [settings_of(record["config"]) for record in records]
    names = sorted(set().union(*settings))
    columns = {name: pd.Series([each.get(name) for each in settings], dtype=object) for name in names}
    return pd.concat([frame(rows, RUN_COLUMNS), pd.DataFrame(columns, dtype=object)], axis="columns")


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the parts of `config`, each by its place."""
    parts = {name: config.get(name) for name in SETTINGS_OF}
    return {name: value for name, value in flat(parts).items() if not name.endswith("_target_")}


def flat(part: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """What is in `part` and in its own parts, by names such as `lr.initial`."""
    found: dict[str, Any] = {}
    for name, value in part.items():
        found |= flat(value, f"{within}{name}.") if isinstance(value, Mapping) else {f"{within}{name}": value}
    return found


def run_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """What every run has, as one flat row; what it did not get to, or did not record, is missing."""
    config, memory, summary, machine = (record.get(name) or {} for name in ("config", "memory", "summary", "machine"))
    worked = sessions_of(record)
    cell, training, dataset = config.get("cell") or {}, config["training"], record.get("dataset") or {}
    asked = training["batch_size"]
    return {
        **{name: record.get(name) for name in ("key", "experiment", "status", "reason", "started_at", "protocol")},
        **{name: config[name]["name"] for name in ("optimizer", "dataset", "memory_budget")},
        "model": record.get("model", {}).get("name", config["model"]["name"]),
        **{f"method.{fact}": value for fact, value in record.get("method", {}).items()},
        **{name: summary.get(name) for name in SCORES},
        "majority_accuracy": dataset.get("majority_accuracy"),
        **{name: summary.get(name) for name in ("train_seconds", "train_cpu_seconds", "eval_seconds")},
        **{name: summary.get(name) for name in ("steps", "forward_passes", "backward_passes")},
        **{f"{kind}_bytes": memory.get("analytic", {}).get(kind) for kind in (*MEMORY_KINDS, "total")},
        **{name: memory.get(name) for name in ("budget_bytes", *PEAKS, PROCESS, BASELINE)},
        **{f"{phase}_seconds": seconds for phase, seconds in phase_seconds(record.get("phase_seconds", {})).items()},
        **{name: machine.get(name) for name in ("cores", "threads")},
        **{name: joined(s["machine"].get(name) for s in worked) for name in MACHINE},
        "profile": config["profile"],
        "cell_row": cell.get("row"),
        "cell_column": cell.get("column"),
        "seed": config["seed"],
        "batch_size": memory.get("batch_size", asked if isinstance(asked, int) else None),
        "epochs": training["epochs"],
        "fraction": training.get("fraction", 1.0),
        "split": dataset.get("scored"),
        "split_examples": dataset.get("scored_size"),
        "commit": joined(session["commit"][:12] for session in worked),
        "dirty": any(session["dirty"] for session in worked),
    }


def sessions_of(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The commits and machines behind the steps of a run, which may have been made in several sessions."""
    sessions = record.get("sessions") or []
    worked = [session for session in sessions if session.get("to_step", 0) > session.get("from_step", 0)]
    return worked or [record]


def joined(texts: Iterable[str | None]) -> str | None:
    """Each of `texts` once, in order."""
    return JOIN.join(dict.fromkeys(text for text in texts if text)) or None


def phase_seconds(recorded: Mapping[str, float]) -> dict[str, float | None]:
    """Seconds in each phase; a forward pass that is computed again for the backward one is a forward pass."""
    seconds: dict[str, float | None] = {phase: recorded.get(phase) for phase in PHASES}
    if "recompute" in recorded:
        seconds["forward"] = recorded["forward"] + recorded["recompute"]
    return seconds


def frame(rows: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> pd.DataFrame:
    """`rows` as a table of these types; an empty text is a missing value, as it is in a csv file."""
    present = [{name: None if value == "" else value for name, value in row.items()} for row in rows]
    return pd.DataFrame(present, columns=list(types)).astype(dict(types))


def read_csv(path: Path, types: Mapping[str, str]) -> pd.DataFrame:
    """The table in `path`, or an empty one where there is no such file. Only an empty field is a missing value."""
    if not path.exists():
        return frame([], types)
    table = pd.read_csv(path, dtype=dict(types), keep_default_na=False, na_values=[""])
    return table.reindex(columns=list(types)).astype(dict(types))
