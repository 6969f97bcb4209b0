"""What the trials of an experiment choose: `python -m analysis.choose elasticzo/tuning/table1`.

Prints each contender's trials, its winner and whether that lies at an edge, then the lines to freeze in the file of
the experiment. Trials are those committed and, where there are any, the local ones that have ended.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tightfit.records.record import FINAL

from .load import EXPERIMENTS, RUNS, flat, load_results, load_runs, merge
from .names import column_title, in_order, method
from .page import Page, table
from .protocol import Cell, Comparison, comparisons
from .render.terminal import terminal
from .tables import percent

HEADERS = ("contender", "", "trials", "winner", "accuracy", "loss", "edge")


@dataclass(frozen=True)
class Trial:
    """One trial of a contender: the values it tried, by the words of the experiment's file, and its held-out score."""

    key: str
    dataset: str
    values: Mapping[str, Any]
    has_finished: bool
    accuracy: float
    loss: float
    score: float  # by the metric that the trials choose by: accuracy, or what training.metric names

    @property
    def standing(self) -> tuple[bool, float, float]:
        """Better is higher: who diverged, or did not fit, is below all others; then the score, then lower loss."""
        return (True, self.score, -self.loss) if self.has_finished else (False, 0.0, 0.0)


@dataclass(frozen=True)
class Choice:
    """A contender's trials, the best of them first.

    tried: the values tried of each setting that varies. at_edge: such settings of which the winner has the outermost
    value. They are to be tried further where only one varies, a grid; pairs at Halton's points have no edge.
    """

    cell: Cell
    trials: tuple[Trial, ...]
    tried: Mapping[str, list[Any]]
    at_edge: tuple[str, ...]

    @property
    def winner(self) -> Trial | None:
        return self.trials[0] if self.trials and self.trials[0].has_finished else None

    @property
    def is_grid(self) -> bool:
        return len(self.tried) == 1


def choices(comparison: Comparison, records: Iterable[Mapping[str, Any]]) -> dict[Cell, Choice]:
    """The choice of each contender of which `records` has trials."""
    found: dict[Cell, list[Trial]] = {}
    for record in records:
        cell = cell_of(record)
        if cell[1] in comparison.columns:
            found.setdefault(cell, []).append(trial(comparison, record))
    return {cell: choice(comparison, cell, trials) for cell, trials in found.items()}


def cell_of(record: Mapping[str, Any]) -> Cell:
    cell = record["config"].get("cell") or {}
    return str(cell.get("row")), str(cell.get("column"))


def trial(comparison: Comparison, record: Mapping[str, Any]) -> Trial:
    said, summary = flat(record["config"]), record.get("summary", {})
    metric = record["config"]["training"].get("metric") or "accuracy"
    return Trial(
        record["key"],
        record["config"]["dataset"]["name"],
        {word: said[place] for word, place in comparison.settings.items() if place in said},
        record["status"] == "finished",
        summary.get("final_accuracy", 0.0),
        summary.get("final_loss", 0.0),
        summary.get(f"final_{metric}", 0.0),
    )


def choice(comparison: Comparison, cell: Cell, trials: Sequence[Trial]) -> Choice:
    distinct = list({str(one.values): one for one in sorted(trials, key=lambda one: str(one.values))}.values())
    ranked = tuple(sorted(distinct, key=lambda one: one.standing, reverse=True))
    values = {word: [one.values.get(word) for one in distinct] for word in comparison.settings}
    tried = {word: sorted(several, key=size) for word, several in values.items() if len(set(map(str, several))) > 1}
    best = ranked[0].values
    at_edge = tuple(
        word
        for word, several in tried.items()
        if size(best[word]) in (size(several[0]), size(several[-1])) and best[word] not in comparison.last.get(word, [])
    )
    return Choice(cell, ranked, tried, at_edge)


def size(value: Any) -> float:
    """Where `value` lies in a grid; a schedule by what it begins with."""
    return float(value[0] if isinstance(value, list) else value)


def page(comparison: Comparison, chosen: Mapping[Cell, Choice]) -> Page:
    """The choices as a table, and the lines that freeze them."""
    rows = in_order({row for row, _ in chosen})
    cells = sorted(chosen, key=lambda cell: (comparison.columns.index(cell[1]), rows.index(cell[0])))
    lines = [line(comparison, chosen[cell]) for cell in cells]
    complete = [chosen[cell] for cell in cells if len(chosen[cell].trials) >= comparison.trials]
    freeze = f"In experiments/{comparison.name}.yaml, of those with all trials:\n\n{frozen_lines(complete)}"
    return Page(f"{comparison.name}: chosen on held-out data", (table(HEADERS, lines), freeze), "")


def line(comparison: Comparison, one: Choice) -> list[str]:
    names = [method(one.cell[0]).title, column_title(one.cell[1]), f"{len(one.trials)} of {comparison.trials}"]
    best = one.winner
    if best is None:
        return [*names, "none: no trial finished", "–", "–", "–"]
    return [*names, words(best.values), percent(best.accuracy), f"{best.loss:.4f}", edge_text(one)]


def edge_text(one: Choice) -> str:
    if not one.at_edge:
        return "no"
    return f"{', '.join(one.at_edge)}: {'try further' if one.is_grid else 'outermost, say so'}"


def words(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), default_flow_style=True, sort_keys=False).strip()


def frozen_lines(chosen: Sequence[Choice]) -> str:
    """The winners as the experiment's file has them."""
    won = [(one.winner.dataset, one.cell[0], one.winner.values) for one in chosen if one.winner is not None]
    lines = ["chosen:"]
    for dataset in dict.fromkeys(name for name, _, _ in won):
        lines += [f"  {dataset}:", *(f"    {row}: {words(values)}" for name, row, values in won if name == dataset)]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None, experiments: Path = EXPERIMENTS) -> None:
    parser = argparse.ArgumentParser(prog="python -m analysis.choose", description=__doc__)
    parser.add_argument("tuning", help="the experiment of the trials, such as elasticzo/tuning/table1")
    parser.add_argument("--runs", type=Path, default=RUNS, help="the folder of runs")
    options = parser.parse_args(arguments)
    known = comparisons(experiments)
    served = [one for one in known if one.tuning == options.tuning]
    if not served:
        there = ", ".join(dict.fromkeys(one.tuning for one in known))
        parser.error(f"{options.tuning} has the trials of no comparison in protocol.yaml; choose {there}")
    records = merge(load_results(options.tuning, experiments), load_runs(options.runs, options.tuning))
    trials = [records.full[key] for key in records.runs["key"] if records.full[key]["status"] in FINAL]
    if not trials:
        print(f"{options.tuning} has no recorded trials; run tightfit reproduce {options.tuning}")
        return
    for one in served:
        print(terminal(page(one, choices(one, one.counted(trials)))))


if __name__ == "__main__":
    main()
