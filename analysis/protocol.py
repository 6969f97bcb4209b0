"""What `experiments/protocol.yaml` says of each comparison, in the rules of `experiments/PROTOCOL.md`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from .load import EXPERIMENTS

STATUSES = ("under way", "complete")
Cell = tuple[str, str]  # row and column: a contender


@dataclass(frozen=True)
class Comparison:
    """The runs on a test set of one sweep, and the trials that their settings are chosen by.

    name: of the sweep's file. recorded: the experiment that its runs are recorded under, in `columns` of its table.
    tuning: the experiment of the trials. settings: what they choose, by the word that the files have for it.
    last: values that are the last that the method takes, at which a grid may end. frozen: the commit of the choice of
    each row, once it is made. superseded: records by `key`, or by the `protocol` that they were made under, with the
    `reason`; missing: runs by `row`, `column` and `seed`, with the `reason`; modified_trials: those from a tree that
    differed from its `commit`, with the `reason` why they count all the same.
    """

    name: str
    status: str
    recorded: str
    columns: tuple[str, ...]
    tuning: str
    settings: Mapping[str, str]
    trials: int
    held_out: int
    least_share: float
    trial_seeds: tuple[int, ...]
    run_seeds: tuple[int, ...]
    frozen: Mapping[str, str]
    last: Mapping[str, list[Any]]
    superseded: tuple[Mapping[str, Any], ...] = ()
    missing: tuple[Mapping[str, Any], ...] = ()
    modified_trials: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_under_way(self) -> bool:
        return self.status == "under way"

    def reason_superseded(self, key: str, protocol: int) -> str | None:
        """Why the run `key`, which was made under `protocol`, no longer counts; None where it does."""
        return next((one["reason"] for one in self.superseded if is_named(one, key, protocol)), None)

    def counted(self, records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Of `records` those that are not superseded."""
        return [one for one in records if not self.reason_superseded(one["key"], one["protocol"])]

    def reason_missing(self, cell: Cell, seed: int) -> str | None:
        places = {(one["row"], one["column"], one["seed"]): one["reason"] for one in self.missing}
        return places.get((*cell, seed))

    def reason_modified(self, commit: str) -> str | None:
        """Why trials from a modified tree of `commit` count; None where they do not."""
        return next((one["reason"] for one in self.modified_trials if commit.startswith(one["commit"])), None)


def is_named(superseding: Mapping[str, Any], key: str, protocol: int) -> bool:
    return superseding.get("key") == key or superseding.get("protocol") == protocol


def comparisons(experiments: Path = EXPERIMENTS) -> list[Comparison]:
    """All that are under the protocol; none where there is no such file.

    Raises ValueError for an entry that is not of the form above.
    """
    path = experiments / "protocol.yaml"
    said = yaml.safe_load(path.read_text()) if path.exists() else {}
    return [comparison(name, entry) for name, entry in said.items()]


def comparison(name: str, entry: Mapping[str, Any]) -> Comparison:
    """The comparison that `entry` describes. Raises ValueError for what is missing, unknown or without a reason."""
    known = {field.name: field for field in fields(Comparison) if field.name != "name"}
    needed = [field for field, about in known.items() if about.default is MISSING]
    for wrong in entry.keys() - known.keys():
        raise ValueError(f"protocol.yaml, {name}: {wrong} is nothing that it says; it says {', '.join(known)}")
    for wrong in needed:
        if wrong not in entry:
            raise ValueError(f"protocol.yaml, {name}: {wrong} is not said; every entry says {', '.join(needed)}")
    if entry["status"] not in STATUSES:
        raise ValueError(f"protocol.yaml, {name}: status={entry['status']} is none; write {' or '.join(STATUSES)}")
    for row, commit in entry["frozen"].items():
        if not isinstance(commit, str):
            raise ValueError(f"protocol.yaml, {name}: frozen.{row}={commit} is read as a number; write it in quotes")
    check_exceptions(name, entry.get("superseded", ()), ({"key"}, {"protocol"}))
    check_exceptions(name, entry.get("missing", ()), ({"row", "column", "seed"},))
    check_exceptions(name, entry.get("modified_trials", ()), ({"commit"},))
    plain: dict[str, Any] = {
        field: tuple(value) if isinstance(value, list) else value for field, value in entry.items()
    }
    return Comparison(name, **plain)


def check_exceptions(name: str, exceptions: Iterable[Mapping[str, Any]], forms: tuple[set[str], ...]) -> None:
    """Raise ValueError for an exception that names no run in one of `forms`, or that has no reason."""
    written = " or ".join(", ".join([*sorted(form), "reason"]) for form in forms)
    for one in exceptions:
        if not one.get("reason") or one.keys() - {"reason"} not in forms:
            raise ValueError(f"protocol.yaml, {name}: {dict(one)} is no exception; write {written}")


def superseded_reasons(
    experiment: str, runs: Iterable[Mapping[Any, Any]], experiments: Path = EXPERIMENTS
) -> dict[str, str]:
    """Why runs or trials of `experiment` are superseded, by their keys; those that are not are left out."""
    of_column = {
        column: one
        for one in comparisons(experiments)
        if experiment in (one.recorded, one.tuning)
        for column in one.columns
    }
    reasons = {
        str(run["key"]): of_column[run["cell_column"]].reason_superseded(run["key"], run["protocol"])
        for run in runs
        if run["cell_column"] in of_column
    }
    return {key: reason for key, reason in reasons.items() if reason}
