"""Check the committed results against the protocol: `make protocol`.

Composes every experiment in experiments/protocol.yaml as it would be run now, and prints what its records have that the
rules of experiments/PROTOCOL.md do not allow: a line each. Exit status: 0 where there is nothing, else 1.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tightfit.commands import DONE, FAILED
from tightfit.launch.reproduce import plan
from tightfit.records.places import EXPERIMENTS, HOME, analysis
from tightfit.run.keys import canonical


class Git:
    """The history of the repository in `root`, as `analysis.check.History`."""

    def __init__(self, root: Path = HOME) -> None:
        self._root = root

    @cached_property
    def unknown(self) -> str:
        try:
            shallow = self._said("rev-parse", "--is-shallow-repository")
        except (OSError, subprocess.CalledProcessError):
            return "this is no git checkout"
        return "this clone is shallow; git fetch --unshallow" if shallow.strip() == "true" else ""

    def descends(self, commit: str, ancestor: str) -> bool:
        words = ["git", "-C", str(self._root), "merge-base", "--is-ancestor", ancestor, commit]
        return bool(commit) and subprocess.run(words, capture_output=True).returncode == 0

    def chosen(self, name: str, commit: str) -> Any:
        try:
            text = self._said("show", f"{commit}:experiments/{name}.yaml")
        except subprocess.CalledProcessError:
            return None  # no such commit, or no such file in it
        return (yaml.safe_load(text) or {}).get("chosen")

    def _said(self, *words: str) -> str:
        return subprocess.run(["git", "-C", str(self._root), *words], check=True, capture_output=True, text=True).stdout


def main() -> int:
    """Check all there is; the exit code."""
    check, history, records = analysis("check"), Git(), recorded()
    subjects = []
    for comparison in analysis("protocol").comparisons():
        composed = [run.config for run in plan([f"experiments={comparison.name}", f"seed={comparison.run_seeds[0]}"])]
        known = (records.get(name, []) for name in (comparison.recorded, comparison.tuning))
        subjects.append(check.subject(comparison, composed, *known, form=canonical))
    for subject in subjects:
        print("\n".join(check.notes(subject, history)))
    wrong = [finding for subject in subjects for finding in check.findings(subject, history)]
    print("\n".join([*check.outside(records, subjects), *map(str, wrong)]))
    print(f"{len(wrong)} findings" if wrong else "all that is under the protocol keeps to it")
    return FAILED if wrong else DONE


def recorded() -> dict[str, list[dict[str, Any]]]:
    """What is committed, by experiment."""
    read = analysis("load").read_records
    every = [record for path in sorted(EXPERIMENTS.glob("*/results/**/*.jsonl")) for record in read(path)]
    found: dict[str, list[dict[str, Any]]] = {}
    for record in every:
        found.setdefault(record["experiment"], []).append(record)
    return found


if __name__ == "__main__":
    sys.exit(main())
