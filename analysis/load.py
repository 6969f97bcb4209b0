"""Recorded runs as two tidy tables, whether they come from run folders or from committed results.

`runs` has one row per run, `evals` one row per evaluation; `key` joins them. Sizes are in bytes, times in
seconds, accuracies are fractions.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd

from tightfit.records.record import EVALS, FINAL, RunRecord, read_evals, read_standing, seal_of_evals

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = ROOT / "experiments"
WORK = ROOT if (ROOT / "src").exists() else Path()  # of runs and figures: the checkout, or else the current folder

TEXT, COUNT, REAL, FLAG = "str", "Int64", "float64", "boolean"
MEMORY_KINDS = ("parameters", "activations", "gradients", "errors", "optimizer_state")
# Rehearsed without data, where that decides about a budget, and measured.
PEAKS = ("peak_live_bytes", "peak_live_inference_bytes", "measured_peak_bytes", "measured_inference_peak_bytes")
JOIN = " + "  # between the commits, or processors, that share a run
PHASES = ("forward", "backward", "perturb", "update")
RUN_COLUMNS = {
    **dict.fromkeys(("key", "experiment", "profile", "cell_row", "cell_column", "optimizer"), TEXT),
    "bp_layers": COUNT,
    **dict.fromkeys(("dataset", "model"), TEXT),
    **dict.fromkeys(("seed", "batch_size"), COUNT),
    **dict.fromkeys(("epochs", "fraction"), REAL),  # of the full protocol, and the part of it that was run
    "memory_budget": TEXT,
    "budget_bytes": COUNT,
    **dict.fromkeys(("status", "reason", "split"), TEXT),
    "split_examples": COUNT,
    **dict.fromkeys(("final_accuracy", "best_accuracy", "initial_accuracy", "final_loss"), REAL),
    **dict.fromkeys(("train_seconds", "train_cpu_seconds", "eval_seconds"), REAL),
    **dict.fromkeys(("steps", "forward_passes", "backward_passes"), COUNT),
    **{f"{kind}_bytes": COUNT for kind in (*MEMORY_KINDS, "total")},
    **dict.fromkeys(PEAKS, COUNT),
    **{f"{phase}_seconds": REAL for phase in PHASES},
    "commit": TEXT,
    "dirty": FLAG,
    "cpu": TEXT,
    "cores": COUNT,
    "threads": COUNT,
    **dict.fromkeys(("device", "python", "torch", "started_at"), TEXT),
}
EVAL_COLUMNS = {
    "key": TEXT,
    "step": COUNT,
    **dict.fromkeys(("epoch", "train_seconds", "train_loss", "accuracy", "loss"), REAL),
    **dict.fromkeys(("sign_agreement", "sign_ties"), REAL),  # shares of all steps so far, where they were audited
}


@dataclass(frozen=True)
class Records:
    """Runs and their evaluations."""

    runs: pd.DataFrame
    evals: pd.DataFrame

    def only(self, chosen: pd.Series) -> Records:
        """The runs where `chosen` is true, with their evaluations."""
        runs = self.runs[chosen.astype(bool)]
        return Records(runs, self.evals[self.evals["key"].isin(runs["key"])])

    def of_profile(self, profile: str) -> Records:
        return self.only(self.runs["profile"] == profile)


def load_runs(folder: Path, experiment: str) -> Records:
    """What the run folders `folder/experiment/*` hold; one warning for each that cannot be read."""
    runs, evals = [], []
    for path in sorted((folder / experiment).glob("*/run.json")):
        try:
            record = read_standing(path.parent)
            assert record is not None
            check_evals(path.parent, record)
            rows = read_evals(path.parent)
            scored = eval_rows(record, rows)
            runs.append(run_row(record, rows, [row["accuracy"] for row in scored]))
            evals.extend(scored)
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            warnings.warn(f"{path.parent} is left out: {type(error).__name__}: {error}", stacklevel=2)
    return Records(frame(runs, RUN_COLUMNS), frame(evals, EVAL_COLUMNS))


def check_evals(folder: Path, record: RunRecord) -> None:
    """Raise ValueError where the evaluations are not those that an ended run had made; older records do not tell."""
    expected = {name: record.evaluations[name] for name in ("rows", "sha256") if name in record.evaluations}
    if expected and record.status in FINAL and seal_of_evals(folder) != expected:
        raise ValueError(f"{folder / EVALS} does not hold the {expected['rows']} evaluations that the run had made")


def load_results(experiment: str, experiments: Path = EXPERIMENTS) -> Records:
    """The committed results of `experiment`; empty where none were committed."""
    runs, evals = results_paths(experiment, experiments)
    return Records(read_csv(runs, RUN_COLUMNS), read_csv(evals, EVAL_COLUMNS))


def results_paths(experiment: str, experiments: Path = EXPERIMENTS) -> tuple[Path, Path]:
    """Where the results of `paper/name` are committed: runs, evaluations."""
    paper, _, name = experiment.partition("/")
    folder = experiments / paper / "results"
    return folder / f"{name}_runs.csv", folder / f"{name}_evals.csv"


def load_published(experiment: str, experiments: Path = EXPERIMENTS) -> pd.DataFrame:
    """The published numbers that `experiment` answers: row, column, value, unit, source; empty where there are none."""
    columns = {"row": TEXT, "column": TEXT, "value": REAL, "unit": TEXT, "source": TEXT}
    return read_csv(experiments / f"{experiment}.csv", columns)


def merge(older: Records, newer: Records) -> Records:
    """All runs of both; of a run in both, the one that was started last (the `newer` where that is the same)."""
    started = older.runs.set_index("key")["started_at"].reindex(newer.runs["key"]).fillna("").to_numpy()
    taken = newer.only(pd.Series(newer.runs["started_at"].fillna("").to_numpy() >= started, newer.runs.index))
    kept = older.only(~older.runs["key"].isin(taken.runs["key"]))
    pairs = ((kept.runs, taken.runs, RUN_COLUMNS), (kept.evals, taken.evals, EVAL_COLUMNS))
    return Records(*(pd.concat([old, new], ignore_index=True).astype(types) for old, new, types in pairs))


def latest(runs: pd.DataFrame, per: Sequence[str]) -> pd.DataFrame:
    """For each value of `per` the run started last: one of an outdated configuration is not another seed."""
    return runs.sort_values("started_at", kind="stable").drop_duplicates(list(per), keep="last").sort_index()


def run_row(record: RunRecord, rows: Sequence[Mapping[str, Any]], accuracies: Sequence[float]) -> dict[str, Any]:
    """The run as one flat row; what it did not get to is missing."""
    config, memory, summary, machine = record.config, record.memory, record.summary, record.machine
    worked = sessions_of(record)
    cell, optimizer, training = config.get("cell") or {}, config["optimizer"], config["training"]
    asked = training["batch_size"]
    return {
        **{name: getattr(record, name) for name in ("key", "experiment", "status", "reason", "started_at")},
        **{name: config[name]["name"] for name in ("dataset", "memory_budget")},
        "model": record.model.get("name", config["model"]["name"]),
        **{name: summary.get(name) for name in ("final_accuracy", "best_accuracy", "final_loss", "steps")},
        **{name: summary.get(name) for name in ("train_seconds", "train_cpu_seconds", "eval_seconds")},
        **{name: rows[-1][name] if rows else None for name in ("forward_passes", "backward_passes")},
        **{f"{kind}_bytes": memory.get("analytic", {}).get(kind) for kind in (*MEMORY_KINDS, "total")},
        **{name: memory.get(name) for name in ("budget_bytes", *PEAKS)},
        **{f"{phase}_seconds": seconds for phase, seconds in phase_seconds(record.phase_seconds).items()},
        **{name: machine.get(name) for name in ("cores", "threads")},
        **{name: joined(s["machine"].get(name) for s in worked) for name in ("cpu", "device", "python", "torch")},
        "profile": config["profile"],
        "cell_row": cell.get("row"),
        "cell_column": cell.get("column"),
        "optimizer": optimizer["name"],
        "bp_layers": optimizer.get("bp_layers"),
        "seed": config["seed"],
        "batch_size": memory.get("batch_size", asked if isinstance(asked, int) else None),
        "epochs": training["epochs"],
        "fraction": training.get("fraction", 1.0),
        "split": record.dataset.get("scored"),
        "split_examples": record.dataset.get("scored_size", examples_behind(accuracies)),
        "initial_accuracy": accuracies[0] if accuracies else None,
        "commit": joined(session["commit"][:12] for session in worked),
        "dirty": any(session["dirty"] for session in worked),
    }


def sessions_of(record: RunRecord) -> list[dict[str, Any]]:
    """The commits and machines behind the steps of a run, which may have been made in several sessions."""
    worked = [session for session in record.sessions if session.get("to_step", 0) > session.get("from_step", 0)]
    return worked or [{"commit": record.commit, "dirty": record.dirty, "machine": record.machine}]


def joined(texts: Iterable[str | None]) -> str | None:
    """Each of `texts` once, in order."""
    return JOIN.join(dict.fromkeys(text for text in texts if text)) or None


def phase_seconds(recorded: Mapping[str, float]) -> dict[str, float | None]:
    """Seconds in each phase; a forward pass that is computed again for the backward one is a forward pass."""
    seconds: dict[str, float | None] = {phase: recorded.get(phase) for phase in PHASES}
    if "recompute" in recorded:
        seconds["forward"] = recorded["forward"] + recorded["recompute"]
    return seconds


def eval_rows(record: RunRecord, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The evaluations as flat rows, with the accuracy and loss of whichever split was scored."""
    split = record.dataset.get("scored", "test")
    copied = ("step", "epoch", "train_seconds", "train_loss")
    return [
        {
            "key": record.key,
            **{name: row[name] for name in copied},
            **{name: row.get(name) for name in ("sign_agreement", "sign_ties")},
            "accuracy": row[f"{split}_accuracy"],
            "loss": row[f"{split}_loss"],
        }
        for row in rows
    ]


def examples_behind(accuracies: Sequence[float]) -> int | None:
    """The least number of examples of which every accuracy is a whole part; None when nothing was scored.

    Records of images do not say how many examples were scored. Over many evaluations this finds it; over few it may
    find a divisor of it, which makes an interval wider, never narrower.
    """
    parts = [Fraction(accuracy).limit_denominator(100_000).denominator for accuracy in accuracies]
    return math.lcm(*parts) if parts else None


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
