"""What is behind a number: `python -m analysis.explain 'elasticzo/table1[mnist_fp32, cls1]'`.

Prints the runs of a cell of an experiment (its column, its row; `elasticzo/table1` alone lists the cells), or the run
in a folder such as runs/scratch/0123456789ab: what was run, with what and on what, how it ended, and how to run it
again.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .defaults import defaults_of
from .load import EXPERIMENTS, RUNS, Records, flat, latest, load_results, load_run, load_runs, merge
from .names import column_title, mebibytes, method
from .tables import CELL, measured, ours_text, percent

CELL_WORDS = re.compile(r"(?P<experiment>[^\[\]]+?)/?(\[(?P<column>[^,\]]*),(?P<row>[^\]]*)\])?")
NOT_RECORDED = "not recorded"
TOLD_APART = ("tracker", "paths", "cell", "experiment")  # parts of a configuration that are no settings of a run
WHERE = (*CELL, "profile", "batch_size", "memory_budget")  # of several runs with these the one started last counts
Lines = Iterator[str]


def main(words: Sequence[str], runs: Path = RUNS, experiments: Path = EXPERIMENTS) -> int:
    """Explain each of `words`; the exit code: 2 where one names nothing."""
    if not words or not {"-h", "--help"}.isdisjoint(words):
        print(__doc__, file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    try:
        for word in words:
            print("\n".join(explained(word, runs, experiments)))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def explained(word: str, runs: Path, experiments: Path) -> Lines:
    """The lines that explain a cell or a folder. Raises ValueError, which names what there is, for anything else."""
    if (Path(word) / "run.json").exists():
        return of_run(load_run(Path(word)), "")
    named = CELL_WORDS.fullmatch(word)
    experiment = named["experiment"] if named else word
    records = merge(load_results(experiment, experiments), load_runs(runs, experiment))
    if named is None or records.runs.empty:
        there = sorted(recorded_experiments(experiments))
        raise ValueError(f"{word} names no recorded experiment and no folder of a run; there are {', '.join(there)}")
    if named["row"] is None:
        return of_experiment(experiment, records)
    return of_cell(experiment, named["column"].strip(), named["row"].strip(), records)


def recorded_experiments(experiments: Path) -> Iterator[str]:
    for path in experiments.glob("*/results/**/*.jsonl"):
        folder = experiments / path.relative_to(experiments).parts[0]
        yield f"{folder.name}/{path.relative_to(folder / 'results').with_suffix('')}"


def of_experiment(experiment: str, records: Records) -> Lines:
    yield f"{experiment} has {len(records.runs)} runs in the cells"
    yield from (f"  {cell}" for cell in cells(experiment, records))


def cells(experiment: str, records: Records) -> list[str]:
    runs = records.runs.dropna(subset=["cell_row", "cell_column"])
    pairs = sorted(set(zip(runs["cell_column"], runs["cell_row"], strict=True)))
    return [f"{experiment}[{column}, {row}]" for column, row in pairs]


def of_cell(experiment: str, column: str, row: str, records: Records) -> Lines:
    runs = records.runs[(records.runs["cell_column"] == column) & (records.runs["cell_row"] == row)]
    if runs.empty:
        raise ValueError(
            f"{experiment}[{column}, {row}] is no cell of recorded runs; there are "
            f"{', '.join(cells(experiment, records))}"
        )
    shown = latest(runs, WHERE)
    by_place = {where(run): records.full[run["key"]] for run in shown.to_dict("records")}
    yield f"{experiment}[{column}, {row}]: {method(row).title}, {column_title(column)}"
    for profile, here in shown.groupby("profile"):
        result, note = measured(here, row, column)
        yield f"{profile} profile: {' '.join(filter(None, [ours_text(result), note]))}"
    for key in shown["key"]:
        yield from of_run(records.full[key], "")
    for run in runs[~runs["key"].isin(shown["key"])].to_dict("records"):
        earlier, later = records.full[run["key"]], by_place[where(run)]
        yield from of_run(earlier, f"superseded by {later['key']}, which was started later{unlike(earlier, later)}")


def where(run: Mapping[Any, Any]) -> tuple[str, ...]:
    return tuple(str(run[name]) for name in WHERE)


def unlike(record: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The settings of `record` that are not those of `other`, in words."""
    one, another = (flat(each["config"]) for each in (record, other))
    names = sorted(name for name in one.keys() | another.keys() if one.get(name) != another.get(name))
    different = [f"{name}={written(one.get(name))}, there {written(another.get(name))}" for name in names]
    return f"; here {'; '.join(different)}" if different else ""


def of_run(record: Mapping[str, Any], standing: str) -> Lines:
    """A run: first what is its own, then what it shares with many."""
    yield ""
    seed = record["config"]["seed"]
    yield " · ".join(filter(None, [f"run {record['key']}", f"seed {seed}", record["status"], standing]))
    yield from (f"  {name:<10}{value}" for name, value in facts_of(record).items())


def facts_of(record: Mapping[str, Any]) -> dict[str, str]:
    """All that is known of a run, by what it is about; what is not known is left out."""
    told = {
        "result": result_of(record),
        "reason": record.get("reason"),
        "method": pairs(record.get("method", {})),
        **settings_of(record["config"]),
        "memory": memory_of(record.get("memory", {})),
        "machine": pairs(record.get("machine", {})),
        "code": code_of(record),
        "data": data_of(record.get("dataset", {})),
        "weights": weights_of(record),
        "made": made_of(record),
        "again": again(record),
    }
    return {name: value for name, value in told.items() if value}


def settings_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The settings in two groups: those that are other than today's defaults, and the rest."""
    chosen = flat({name: value for name, value in config.items() if name not in TOLD_APART and value is not None})
    usual = defaults_of(config)
    chosen = {name: value for name, value in chosen.items() if value is not None and not name.endswith("_target_")}
    unlike = {name: value for name, value in chosen.items() if name not in usual or usual[name] != value}
    return {
        "set": pairs(unlike),
        "default": pairs({name: value for name, value in chosen.items() if name not in unlike}),
    }


def result_of(record: Mapping[str, Any]) -> str:
    summary, dataset = record.get("summary", {}), record.get("dataset", {})
    if summary.get("final_accuracy") is None:
        return ""
    examples = dataset.get("scored_size")
    where = f" of {examples:,}" if examples else ""
    best = f", best {percent(summary['best_accuracy'])}%" if "best_accuracy" in summary else ""
    return f"{percent(summary['final_accuracy'])}%{where} {dataset.get('scored', 'test')} examples{best}"


def memory_of(memory: Mapping[str, Any]) -> str:
    sizes = {"buffers": memory.get("analytic", {}).get("total")}
    sizes |= {name.removesuffix("_bytes"): memory.get(name) for name in memory if name.endswith("_bytes")}
    return ", ".join(f"{name} {mebibytes(size)}" for name, size in sizes.items() if size)


def code_of(record: Mapping[str, Any]) -> str:
    sessions = record.get("sessions") or [record]
    commits = dict.fromkeys(f"{one['commit'][:12]}{' (modified)' if one['dirty'] else ''}" for one in sessions)
    version, protocol = record.get("code_version"), record.get("protocol")
    return f"commit {', '.join(commits)}, numerics {version or NOT_RECORDED}, protocol {protocol}"


def data_of(dataset: Mapping[str, Any]) -> str:
    checksums = dataset.get("checksums") or {}
    digests = ", ".join(f"{name} sha256 {digest}" for name, digest in checksums.items())
    return f"{dataset.get('name')}, route {dataset.get('route') or NOT_RECORDED}, {digests or f'sha256 {NOT_RECORDED}'}"


def weights_of(record: Mapping[str, Any]) -> str:
    first = record.get("model", {}).get("initial_weights_sha256")
    last = record.get("summary", {}).get("weights_sha256")
    return f"sha256 at the start {first or NOT_RECORDED}, at the end {last or NOT_RECORDED}"


def made_of(record: Mapping[str, Any]) -> str:
    summary = record.get("summary", {})
    times = {"of training": "train_seconds", "of it processor time": "train_cpu_seconds", "of scoring": "eval_seconds"}
    spent = [f"{summary[name]:.1f} s {what}" for what, name in times.items() if summary.get(name) is not None]
    return ", ".join([record.get("started_at") or f"start {NOT_RECORDED}", *spent])


def again(record: Mapping[str, Any]) -> str:
    """The command that makes the run again, with the code and the settings of its time."""
    if not record.get("command"):
        return NOT_RECORDED
    commit = record.get("settings_from") or record["commit"]
    at = f"git checkout {commit[:12]} && " if commit else ""
    return f"{at}python -m tightfit.run {shlex.join(record['command'])}"


def pairs(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={written(value)}" for name, value in settings.items() if not is_missing(value))


def is_missing(value: Any) -> bool:
    return value in (None, "", []) or (isinstance(value, float) and pd.isna(value))


def written(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, Iterable) and not isinstance(value, str) else str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r"\s", text) else text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
