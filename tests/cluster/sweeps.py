"""Sweeps of small runs, made by the command, and what they leave behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tightfit.records.record import RunRecord, is_held, read_run

SMALL = [
    "dataset._target_=tests.synthetic.bars",
    "tracker=local",
    "training.evaluations=4",
    "training.batch_size=16",
    "training.epochs=4",  # of 6 steps
]
FOUR = ["optimizer=mezo,bp_sgd", "seed=0,1"]
ONE = ["optimizer=mezo", "seed=0"]


def held(marker: Path) -> list[str]:
    """Words that hold a run at its third evaluation of five."""
    return ["tracker._target_=tests.cluster.held.Held", f"+tracker.marker={marker}", "+tracker.at=12"]


def sweep(there: Mapping[str, str], runs: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tightfit", "run", "-m", *SMALL, f"paths.runs={runs}", *words]
    return subprocess.Popen(
        command,
        env=there,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A shell has its background processes ignore Ctrl-C, and what they start as well.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What a sweep said that ended well."""
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


def on_this_machine(runs: Path, there: Mapping[str, str], *words: str) -> dict[str, str]:
    """The digests of the weights of an undisturbed sweep."""
    ended(sweep(there, runs, *words, "hydra/launcher=all_cores"))
    return digests(runs)


def records(runs: Path) -> dict[str, RunRecord]:
    found = {path: read_run(path) for path in folders(runs)}
    return {path.name: record for path, record in found.items() if record is not None}


def folders(runs: Path) -> list[Path]:
    return [path for path in (runs / "scratch").glob("*") if path.is_dir()]


def digests(runs: Path) -> dict[str, str]:
    """By the key of the run; empty where it has not finished."""
    return {name: record.summary.get("weights_sha256", "") for name, record in records(runs).items()}


def as_undisturbed(runs: Path, undisturbed: dict[str, str]) -> bool:
    """Whether runs are there, and each has the weights of its twin."""
    found = digests(runs)
    return bool(found) and found.items() <= undisturbed.items()


def only_record(runs: Path) -> RunRecord:
    (record,) = records(runs).values()
    return record


def is_anybody_in(runs: Path) -> bool:
    return any(is_held(folder) for folder in folders(runs))


def steps(runs: Path) -> list[tuple[int, int]]:
    """From which step to which each session of the only run counts."""
    return [(session["from_step"], session["to_step"]) for session in only_record(runs).sessions]
