"""A paper's table rebuilt: ours ± spread (n) | published | difference, beside the recorded full-protocol runs.

Every cell without a number says why it has none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from .load import JOIN, latest
from .names import budget_title, experiment_title, mebibytes
from .statistics import BOTH, HOW_BOTH, Estimate, estimate

CELL = ("cell_row", "cell_column", "seed")  # of several runs with these the latest counts
BEFORE_TRAINING = "none"  # the row that holds the accuracy at step 0
NOT_RUN = "not run"
NO_RUNS = "no runs yet"  # what stands where the evidence would
TWO_SIDED = "Agrees, above, below: whether the published value lies within our interval, or which side of it ours is"
OUTDATED = "‡ superseded, and shown until it is run again"
RUN_AGAIN = "run again later, with other settings"
ONE_SEED = "† one seed: the interval is of the test set only (Wilson) and knows nothing of other seeds"


@dataclass(frozen=True)
class Superseded:
    """What a run came to that others have replaced, and why they did. None: it has no final accuracy."""

    seed: int
    accuracy: float | None
    reason: str
    key: str


@dataclass(frozen=True)
class Cell:
    """One result beside its published value, as fractions. `note` says why `ours` is missing, or what it leaves out."""

    row: str
    column: str
    ours: Estimate | None
    note: str
    published: float | None
    recorded: Estimate | None
    superseded: tuple[Superseded, ...] = ()  # runs that are not in `ours`
    runs: tuple[str, ...] = ()  # keys of those that `ours`, or the note, is of
    is_outdated: bool = False  # whether `ours` is of superseded runs, for want of others

    @property
    def difference(self) -> float | None:
        return None if self.ours is None or self.published is None else self.ours.minus(self.published)

    @property
    def verdict(self) -> str:
        """Whether ours agrees with the published value, or is above or below it, by the interval of ours."""
        if self.ours is None or self.published is None:
            return ""
        return "one seed" if self.ours.n == 1 else self.ours.against(self.published)


@dataclass(frozen=True)
class ResultTable:
    """The cells of one experiment, column by column, and under what conditions they came about."""

    experiment: str
    profile: str
    title: str
    provenance: str
    cells: tuple[Cell, ...]
    shows_recorded: bool

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(cell.column for cell in self.cells))

    def of(self, column: str) -> list[Cell]:
        return [cell for cell in self.cells if cell.column == column]

    def is_published(self, column: str) -> bool:
        return any(cell.published is not None for cell in self.of(column))


def build_table(
    experiment: str,
    profile: str,
    runs: pd.DataFrame,
    published: pd.DataFrame,
    recorded: pd.DataFrame | None = None,
    reasons: Mapping[str, str] | None = None,
) -> ResultTable:
    """The table of `runs` (all of one profile) against `published`, with `recorded` full-protocol runs beside them.

    reasons: why a run is superseded, by its key. Its columns are those that any run belongs to, or all published ones
    when nothing was run.
    """
    reasons = reasons or {}
    known = [runs] if recorded is None else [runs, recorded]
    ran = {column for table in known for column in table["cell_column"].dropna()}
    columns = [*dict.fromkeys(published["column"]), *sorted(ran - set(published["column"]))]
    rows = [*dict.fromkeys(published["row"]), *sorted(set(runs["cell_row"].dropna()) - set(published["row"]))]
    beside = None if recorded is None else standing(recorded, reasons)
    cells = [
        build_cell(row, column, runs, published, beside, reasons)
        for column in columns
        for row in rows
        if not ran or column in ran
    ]
    title = ". ".join(filter(None, [f"{experiment_title(experiment)}: accuracy in %", profile_banner(profile, runs)]))
    behind = provenance(standing(runs, reasons), len(runs) - len(standing(runs, reasons)))
    return ResultTable(experiment, profile, title, behind, tuple(cells), recorded is not None)


def standing(runs: pd.DataFrame, reasons: Mapping[str, str]) -> pd.DataFrame:
    """Of each cell the runs that are not superseded; where that is all of them, all."""
    outdated = runs["key"].isin(list(reasons))
    others = (~outdated).groupby([runs["cell_row"], runs["cell_column"]], dropna=False).transform("any")
    return runs[~(outdated & others.astype(bool))]


def build_cell(
    row: str,
    column: str,
    runs: pd.DataFrame,
    published: pd.DataFrame,
    recorded: pd.DataFrame | None,
    reasons: Mapping[str, str],
) -> Cell:
    shown = standing(runs, reasons)
    ours, note = measured(shown, row, column)
    of_column = published[published["column"] == column].dropna(subset="value")
    value = of_column.loc[of_column["row"] == row, "value"]
    if note == NOT_RUN and len(of_column) and value.empty:
        note = ""  # the paper has no such cell either
    beside = None if recorded is None else measured(recorded, row, column)[0]
    value = float(value.iloc[0]) / 100 if len(value) else None
    here = shown[(shown["cell_column"] == column) & (shown["cell_row"] == row)]
    is_outdated = len(here) > 0 and bool(here["key"].isin(list(reasons)).all())
    left_out, behind = superseded(runs, row, column, reasons), behind_cell(shown, row, column)[0]
    return Cell(row, column, ours, note, value, beside, left_out, tuple(behind["key"]), is_outdated)


def superseded(runs: pd.DataFrame, row: str, column: str, reasons: Mapping[str, str]) -> tuple[Superseded, ...]:
    """The runs on the test set that others of the same cell replaced, by a stated reason or by being started later."""
    here = runs[(runs["cell_column"] == column) & (runs["cell_row"] == row) & (runs["split"].fillna("test") == "test")]
    left_out = here.drop(latest(standing(here, reasons), CELL).index).sort_values("started_at")
    return tuple(
        Superseded(
            int(run["seed"]),
            None if pd.isna(run["final_accuracy"]) else float(run["final_accuracy"]),
            reasons.get(run["key"], RUN_AGAIN),
            run["key"],
        )
        for run in left_out.to_dict("records")
    )


def measured(runs: pd.DataFrame, row: str, column: str) -> tuple[Estimate | None, str]:
    """The final accuracy over the seeds of a cell and what it leaves out, or no number and the reason."""
    here, accuracy = behind_cell(runs, row, column)
    counted = here if row == BEFORE_TRAINING else here[here["status"] == "finished"]
    if here.empty:
        return None, NOT_RUN
    without = here.drop(counted.index)
    reasons = "; ".join(dict.fromkeys(why(run) for run in without.to_dict("records")))
    if counted.empty:
        return None, reasons
    examples = counted["split_examples"].min()
    result = estimate(counted[accuracy].tolist(), None if pd.isna(examples) else int(examples))
    return result, f"without {len(without)} of {len(here)} seeds: {reasons}" if reasons else ""


def behind_cell(runs: pd.DataFrame, row: str, column: str) -> tuple[pd.DataFrame, str]:
    """Of each seed the latest run on the test set that a cell is about, and the column of its accuracy."""
    here = runs[(runs["cell_column"] == column) & (runs["split"].fillna("test") == "test")]
    if row == BEFORE_TRAINING:
        return latest(here[here["initial_accuracy"].notna()], ["seed"]), "initial_accuracy"
    return latest(here[here["cell_row"] == row], ["seed"]), "final_accuracy"


def why(run: Mapping[Any, Any]) -> str:
    """Why `run` has no final accuracy, in a few words."""
    reason = "" if pd.isna(run["reason"]) else str(run["reason"])
    match run["status"]:
        case "over_budget" if run["total_bytes"] <= run["budget_bytes"]:
            return f"over budget: {reason}"  # the accounting allowed it, a measurement or the limit did not
        case "over_budget":
            return f"over budget: needs {mebibytes(run['total_bytes'])} of {budget_title(run['budget_bytes'])}"
        case "diverged":
            step = re.search(r"step (\d+)", reason)
            return f"diverged at step {step[1]}" if step else "diverged"
        case "failed" if "DataUnavailable" in reason:
            return "data unavailable"
        case "failed":
            return f"failed: {reason.splitlines()[0][:60]}" if reason else "failed"
        case status:
            return f"{status}, not ended"


def profile_banner(profile: str, runs: pd.DataFrame) -> str:
    """Says loudly that `runs` are not the paper's protocol, and how much of it they are; nothing for those that are."""
    if profile == "paper":
        return ""
    parts = " or ".join(f"{part:.3g}%" for part in sorted(set(100 * runs["fraction"])))
    length = f"{parts} of the training, " if parts else ""
    return f"{profile.upper()} PROFILE: {length}not the paper's protocol"


def provenance(runs: pd.DataFrame, superseded: int = 0, per: Sequence[str] = CELL) -> str:
    """The machines, the minutes and the commits behind `runs`, in one line.

    Of each cell and seed, or what else `per` names, the latest run counts; how many are left out is said, `superseded`
    ones among them.
    """
    if runs.empty:
        return NO_RUNS
    left_out = superseded + len(runs) - len(latest(runs, per))
    runs = latest(runs, per)
    machines = dict.fromkeys(map(machine, runs.dropna(subset="cpu").to_dict("records")))
    known = runs.dropna(subset="commit").to_dict("records")
    of_all = [(commit[:7], run["dirty"]) for run in known for commit in run["commit"].split(JOIN)]
    commits = sorted({f"{commit}{' (modified)' if dirty else ''}" for commit, dirty in of_all})
    earlier = f" ({left_out} superseded left out)" if left_out else ""
    cpu, wall = (runs[name].sum() / 60 for name in ("train_cpu_seconds", "train_seconds"))
    effort = f"{len(runs)} runs{earlier}, {cpu:.3g} min of processor time, {wall:.3g} by the clock"
    return f"{'; '.join(machines)} · {effort} · commit {', '.join(commits) or 'unknown'}"


def machine(run: Mapping[Any, Any]) -> str:
    """The processor that trained, and how much of it a run used."""
    cores, threads = counted(run["cores"], "core"), counted(run["threads"], "thread")
    accelerator = "" if run["device"] == "cpu" else f" + {run['device']}{capability(run['device_capability'])}"
    return f"{run['cpu']}{capability(run['capability'])}{accelerator}, {cores}, {threads} per run, torch {run['torch']}"


def capability(known: Any) -> str:
    """The instructions of a processor, or the architecture of a GPU; earlier records do not tell."""
    return "" if pd.isna(known) else f" ({known})"


def counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def percent(share: float | None, sign: str = "") -> str:
    return "–" if share is None else f"{100 * share:{sign}.2f}"


def ours_text(result: Estimate | None) -> str:
    """`97.53 ± 0.12 (3)`; one seed has no spread."""
    if result is None:
        return "–"
    spread = "" if math.isnan(result.spread) else f" ± {percent(result.spread)}"
    return f"{percent(result.mean)}{spread} ({result.n})"


def interval_text(result: Estimate | None) -> str:
    if result is None or math.isnan(result.low):
        return ""
    return f"{percent(result.low)} – {percent(result.high)}{'†' if result.interval == 'test set' else ''}"


def difference_text(cell: Cell) -> str:
    """`+1.20, above`."""
    return ", ".join(filter(None, [percent(cell.difference, "+"), cell.verdict]))


def footnotes(table: ResultTable) -> list[str]:
    """How to read the intervals and marks that are in `table`."""
    results = [cell.ours for cell in table.cells if cell.ours is not None]
    notes = {
        TWO_SIDED: any(cell.verdict in ("agrees", "above", "below") for cell in table.cells),
        HOW_BOTH: any(result.interval == BOTH for result in results),
        ONE_SEED: any(result.n == 1 for result in results),
        OUTDATED: any(cell.is_outdated for cell in table.cells),
    }
    return [note for note, applies in notes.items() if applies]


def ours_of(cell: Cell) -> str:
    return ours_text(cell.ours) + ("‡" if cell.is_outdated else "")
