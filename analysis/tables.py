"""A paper's table rebuilt: ours ± spread (n) | published | difference, beside the recorded full-protocol runs.

Every cell without a number says why it has none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from .load import JOIN, latest
from .names import budget_title, column_title, experiment_title, mebibytes, method
from .summary import Estimate, estimate

CELL = ("cell_row", "cell_column", "seed")  # of several runs with these the latest counts
BEFORE_TRAINING = "none"  # the row that holds the accuracy at step 0
NOT_RUN = "not run"
ONE_SEED = "† one seed: the interval is of the test set only (Wilson) and knows nothing of other seeds"


@dataclass(frozen=True)
class Cell:
    """One result beside its published value, as fractions. `note` says why `ours` is missing, or what it leaves out."""

    row: str
    column: str
    ours: Estimate | None
    note: str
    published: float | None
    recorded: Estimate | None
    superseded: tuple[float, ...] = ()  # final accuracies of earlier runs of the same seeds

    @property
    def difference(self) -> float | None:
        return None if self.ours is None or self.published is None else self.ours.minus(self.published)


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
    experiment: str, profile: str, runs: pd.DataFrame, published: pd.DataFrame, recorded: pd.DataFrame | None = None
) -> ResultTable:
    """The table of `runs` (all of one profile) against `published`, with `recorded` full-protocol runs beside them.

    Its columns are those that any run belongs to, or all published ones when nothing was run; an outdated
    run of a cell and seed gives way to the latest.
    """
    known = [runs] if recorded is None else [runs, recorded]
    ran = {column for table in known for column in table["cell_column"].dropna()}
    columns = [*dict.fromkeys(published["column"]), *sorted(ran - set(published["column"]))]
    rows = [*dict.fromkeys(published["row"]), *sorted(set(runs["cell_row"].dropna()) - set(published["row"]))]
    cells = [
        build_cell(row, column, runs, published, recorded)
        for column in columns
        for row in rows
        if not ran or column in ran
    ]
    title = ". ".join(filter(None, [f"{experiment_title(experiment)}: accuracy in %", profile_banner(profile, runs)]))
    behind = provenance(runs)
    return ResultTable(experiment, profile, title, behind, tuple(cells), recorded is not None)


def build_cell(
    row: str, column: str, runs: pd.DataFrame, published: pd.DataFrame, recorded: pd.DataFrame | None
) -> Cell:
    ours, note = measured(runs, row, column)
    of_column = published[published["column"] == column].dropna(subset="value")
    value = of_column.loc[of_column["row"] == row, "value"]
    if note == NOT_RUN and len(of_column) and value.empty:
        note = ""  # the paper has no such cell either
    beside = None if recorded is None else measured(recorded, row, column)[0]
    value = float(value.iloc[0]) / 100 if len(value) else None
    return Cell(row, column, ours, note, value, beside, superseded(runs, row, column))


def superseded(runs: pd.DataFrame, row: str, column: str) -> tuple[float, ...]:
    """Final accuracies on the test set of runs that a later one of the same cell and seed replaced."""
    here = runs[(runs["cell_column"] == column) & (runs["cell_row"] == row) & (runs["split"].fillna("test") == "test")]
    return tuple(here.drop(latest(here, CELL).index).sort_values("started_at")["final_accuracy"].dropna())


def measured(runs: pd.DataFrame, row: str, column: str) -> tuple[Estimate | None, str]:
    """The final accuracy over the seeds of a cell and what it leaves out, or no number and the reason."""
    here = runs[(runs["cell_column"] == column) & (runs["split"].fillna("test") == "test")]
    if row == BEFORE_TRAINING:
        here, accuracy = here[here["initial_accuracy"].notna()], "initial_accuracy"
        counted = here = latest(here, ["seed"])
    else:
        here, accuracy = latest(here[here["cell_row"] == row], ["seed"]), "final_accuracy"
        counted = here[here["status"] == "finished"]
    if here.empty:
        return None, NOT_RUN
    without = here.drop(counted.index)
    reasons = "; ".join(dict.fromkeys(why(run) for run in without.to_dict("records")))
    if counted.empty:
        return None, reasons
    examples = counted["split_examples"].iloc[0]
    result = estimate(counted[accuracy].tolist(), None if pd.isna(examples) else int(examples))
    return result, f"without {len(without)} of {len(here)} seeds: {reasons}" if reasons else ""


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


def provenance(runs: pd.DataFrame) -> str:
    """The machine, the minutes and the commit behind `runs`, in one line.

    Of each cell and seed the latest run counts; how many earlier ones are left out is said.
    """
    if runs.empty:
        return "no runs yet"
    everything, runs = len(runs), latest(runs, CELL)
    machines = dict.fromkeys(map(machine, runs.dropna(subset="cpu").to_dict("records")))
    known = runs.dropna(subset="commit").to_dict("records")
    of_all = [(commit[:7], run["dirty"]) for run in known for commit in run["commit"].split(JOIN)]
    commits = sorted({f"{commit}{' (modified)' if dirty else ''}" for commit, dirty in of_all})
    earlier = f" ({counted(everything - len(runs), 'earlier one')} left out)" if everything > len(runs) else ""
    cpu, wall = (runs[name].sum() / 60 for name in ("train_cpu_seconds", "train_seconds"))
    effort = f"{len(runs)} runs{earlier}, {cpu:.3g} min of processor time, {wall:.3g} by the clock"
    return f"{'; '.join(machines)} · {effort} · commit {', '.join(commits) or 'unknown'}"


def machine(run: Mapping[Any, Any]) -> str:
    """The processor that trained, and how much of it a run used."""
    cores, threads = counted(run["cores"], "core"), counted(run["threads"], "thread")
    accelerator = "" if run["device"] == "cpu" else f" + {run['device']}"
    return f"{run['cpu']}{accelerator}, {cores}, {threads} per run, torch {run['torch']}"


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


def render_terminal(table: ResultTable) -> RichTable:
    """The table for a terminal: a section for each column of the paper's, a line for each method."""
    footnote = f"\n{ONE_SEED}" if has_single_seeds(table) else ""
    rich = RichTable(title=table.title, caption=table.provenance + footnote, box=box.SIMPLE_HEAD, title_justify="left")
    rich.caption_justify = "left"
    for name in ("", "ours ± spread (n)", "95% interval", "published", "difference"):
        rich.add_column(name, justify="right" if name else "left", no_wrap=name != "ours ± spread (n)")
    if table.shows_recorded:
        rich.add_column("recorded, paper profile", justify="right", style="cyan")
    for column in table.columns:
        rich.add_row(Text(column_title(column), style="bold"))
        for cell in table.of(column):
            rich.add_row(*terminal_row(cell, table.shows_recorded))
        rich.add_section()
    return rich


def terminal_row(cell: Cell, shows_recorded: bool) -> list[Text]:
    ours = Text(ours_text(cell.ours) if cell.ours else cell.note or "–", style="bold" if cell.ours else "dim italic")
    if cell.ours and cell.note:
        ours.append(f"\n{cell.note}", style="dim italic")
    difference = cell.difference
    color = "" if difference is None else "green" if difference >= 0 else "yellow"
    texts = [
        Text(f"  {method(cell.row).title}"),
        ours,
        Text(interval_text(cell.ours), style="dim"),
        Text(percent(cell.published)),
        Text(percent(difference, "+"), style=color),
    ]
    return [*texts, Text(ours_text(cell.recorded))] if shows_recorded else texts


def has_single_seeds(table: ResultTable) -> bool:
    return any(cell.ours is not None and cell.ours.n == 1 for cell in table.cells)
