"""Whether recorded runs and trials keep to the protocol: a line for each that does not, with the rule and the remedy.

Nothing is read here: records, the settings that the experiments' files compose to now, and this repository's history
are given, so that each rule can be tried on made-up ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .choose import Choice, cell_of, choices, trial
from .load import SETTINGS_OF, flat, sessions_of
from .protocol import Cell, Comparison, is_named

Record = Mapping[str, Any]
Form = Callable[[Mapping[str, Any]], Any]
# Where the settings of a trial may differ from those of a run beside what is tried. DP-ZO accounts for its steps.
OF_TRIALS = ("training.fraction", "optimizer.fraction", "training.evaluations", "dataset.held_out", "dataset.scored")
PARTS = tuple(dict.fromkeys((*SETTINGS_OF, "adapter", "pretraining")))
BY_MACHINE = ("model.compute",)  # chosen by the machine, which is a column of the record


class History(Protocol):
    """This repository's past; `unknown` says why it cannot be told, and is empty where it can."""

    unknown: str

    def descends(self, commit: str, ancestor: str) -> bool: ...
    def chosen(self, name: str, commit: str) -> Any:
        """What the file of the experiment `name` chose at `commit`; "HEAD" is now."""


@dataclass(frozen=True)
class Finding:
    """What is wrong with `where`, a record's key or a contender, by which rule, and what mends it."""

    where: str
    value: str
    rule: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.value}; {self.rule}; {self.remedy}"


@dataclass(frozen=True)
class Subject:
    """A comparison with all that is known of it.

    frozen: the settings of each contender, flat, as its file composes to now. form: of a configuration in records, that
    makes its settings comparable with these. Superseded records are in neither `runs` nor `trials`.
    """

    comparison: Comparison
    frozen: Mapping[Cell, Mapping[str, Any]]
    runs: Sequence[Record]
    trials: Sequence[Record]
    all_records: Sequence[Record]
    form: Form

    def is_decided(self, cell: Cell) -> bool:
        """Whether the choice of a contender counts as made: from then on it is judged."""
        has_runs = any(cell_of(record) == cell for record in self.runs)
        return has_runs or cell[0] in self.comparison.frozen or not self.comparison.is_under_way


def subject(
    comparison: Comparison,
    composed: Iterable[Mapping[str, Any]],
    runs: Iterable[Record],
    trials: Iterable[Record],
    form: Form = dict,
) -> Subject:
    """composed: the configurations of the runs that the experiment's file describes now."""
    frozen = {cell_of({"config": config}): settings_of(config, form) for config in composed}
    ours = [[record for record in records if cell_of(record) in frozen] for records in (runs, trials)]
    counted_runs, counted_trials = map(comparison.counted, ours)
    return Subject(comparison, frozen, counted_runs, counted_trials, [*ours[0], *ours[1]], form)


def settings_of(config: Mapping[str, Any], form: Form) -> dict[str, Any]:
    said = form(config)
    return flat({part: said.get(part) or {} for part in PARTS})


def findings(of: Subject, history: History) -> list[Finding]:
    """All that is wrong, in the order of the rules."""
    chosen = choices(of.comparison, of.trials)
    rules = (
        *(contender_findings(of, cell, chosen.get(cell)) for cell in of.frozen if of.is_decided(cell)),
        *(trial_findings(of, record) for record in of.trials),
        *(run_findings(of, record) for record in of.runs),
        settings_findings(of),
        repetitions(of),
        gaps(of),
        exceptions(of),
        order_findings(of, history),
    )
    return [finding for found in rules for finding in found]


def notes(of: Subject, history: History) -> list[str]:
    """What is still to come, and what could not be checked."""
    said, name = of.comparison, of.comparison.name
    due_trials, due_runs = said.trials * len(of.frozen), len(said.run_seeds) * len(of.frozen)
    told = [f"{name}: {len(of.trials)} of {due_trials} trials, {len(of.runs)} of {due_runs} runs, {said.status}"]
    if to_come := list(dict.fromkeys(row for row, _ in of.frozen if row not in said.frozen)):
        told.append(f"{name}: not frozen yet: {listed(to_come)}")
    if said.frozen and history.unknown:
        told.append(f"{name}: the order of commits is not checked: {history.unknown}")
    left_out = len([1 for record in of.all_records if said.reason_superseded(record["key"], record["protocol"])])
    return [*told, *([f"{name}: {left_out} superseded records"] if left_out else [])]


def contender_findings(of: Subject, cell: Cell, choice: Choice | None) -> Iterator[Finding]:
    """Equal trials, the choice that they give, and edges."""
    said, where = of.comparison, f"{of.comparison.name}[{cell[1]}, {cell[0]}]"
    made = len(choice.trials) if choice else 0
    if made < said.trials:
        rule = f"every contender has {said.trials}"
        yield Finding(where, f"{made} trials in {said.tuning}", rule, "run and collect the others before the choice")
    if choice is None or all_over_budget(of, cell):
        return
    if made > said.trials and not choice.is_grid:
        rule = f"every contender has {said.trials}, and only a grid is extended"
        yield Finding(where, f"{made} trials in {said.tuning}", rule, "give the others as many")
    if choice.winner is None:
        remedy = "lower the box and run it anew for all contenders"
        yield Finding(where, "no trial finished", "the trial with the best held-out accuracy is taken", remedy)
        return
    frozen = {word: of.frozen[cell].get(said.settings[word]) for word in choice.winner.values}
    if frozen != dict(choice.winner.values):
        rule = f"trial {choice.winner.key} with {dict(choice.winner.values)} is the best on held-out data"
        remedy = f"freeze what python -m analysis.choose {said.tuning} prints"
        yield Finding(where, f"{said.name}.yaml has {frozen}", rule, remedy)
    if choice.is_grid and choice.at_edge:
        word = choice.at_edge[0]
        remedy = "try further values in that direction, or name it in `last` if the method takes none"
        yield Finding(where, f"{word}={choice.winner.values[word]} won", "a winner at an edge is extended", remedy)


def all_over_budget(of: Subject, cell: Cell) -> bool:
    """Whether nothing can be chosen for a contender because it does not fit its budget, which is a result."""
    return {record["status"] for record in of.trials if cell_of(record) == cell} == {"over_budget"}


def trial_findings(of: Subject, record: Record) -> Iterator[Finding]:
    """Held-out data, a seed of its own, enough length, and otherwise what the runs are."""
    said, config, where = of.comparison, record["config"], f"{of.comparison.tuning} {record['key']}"
    scored, held_out = record["dataset"].get("scored", "test"), config["dataset"].get("held_out", 0)
    if scored == "test" or held_out != said.held_out:
        rule = f"a trial is scored on {said.held_out} held-out training examples"
        yield Finding(where, f"scored on {scored}, {held_out} held out", rule, "leave it out and run it on these")
    if config["seed"] not in said.trial_seeds or config["seed"] in said.run_seeds:
        rule = f"trials have the seeds {listed(said.trial_seeds)}, and runs others"
        yield Finding(where, f"seed={config['seed']}", rule, "leave it out and run it with such a seed")
    frozen, own = of.frozen[cell_of(record)], settings_of(config, of.form)
    share = own.get("training.fraction", 1.0) / frozen.get("training.fraction", 1.0)
    if share < said.least_share:
        rule = f"a trial is at least {said.least_share:g} of the full length"
        yield Finding(where, f"{share:g} of the full length", rule, "run it longer")
    for place, ours, theirs in differences(own, frozen, (*said.settings.values(), *OF_TRIALS)):
        rule = f"{said.name} runs with {theirs}, and trials differ from runs only in what they try"
        yield Finding(where, f"{place}={ours}", rule, "run the trial with the settings of the runs")
    yield from dirty_tree(where, record, said)


def run_findings(of: Subject, record: Record) -> Iterator[Finding]:
    """A seed that was named, the settings that were frozen, and a clean tree."""
    said, config, where = of.comparison, record["config"], f"{of.comparison.recorded} {record['key']}"
    if config["seed"] not in said.run_seeds:
        rule = f"runs have the seeds {listed(said.run_seeds)}"
        yield Finding(where, f"seed={config['seed']}", rule, "take it out of the results")
    frozen, own = of.frozen[cell_of(record)], settings_of(config, of.form)
    for place, ours, theirs in differences(own, frozen, ()):
        rule = f"{said.name}.yaml has {theirs}, and runs have the frozen settings"
        yield Finding(where, f"{place}={ours}", rule, "run it with these, or supersede it with a reason")
    for word, place in said.settings.items():
        if (place in own) != (place in frozen):
            rule = f"{word} is {'' if place in frozen else 'no '}part of what was frozen"
            yield Finding(where, f"{place}={own.get(place)}", rule, "run it as its file says, or supersede it")
    yield from dirty_tree(where, record)


def differences(
    own: Mapping[str, Any], frozen: Mapping[str, Any], without: Sequence[str]
) -> Iterator[tuple[str, Any, Any]]:
    """Settings that both have and that differ: one that came later, or has gone since, can change no number."""
    for place in sorted(own.keys() & frozen.keys() - {*without, *BY_MACHINE}):
        if own[place] != frozen[place]:
            yield place, own[place], frozen[place]


def dirty_tree(where: str, record: Record, excused: Comparison | None = None) -> Iterator[Finding]:
    """A session from a modified tree, unless it is one of the trials that `excused` gives a reason for."""
    modified = [session["commit"] for session in sessions_of(record) if session["dirty"]]
    if any(excused is None or not excused.reason_modified(commit) for commit in modified):
        yield Finding(where, "dirty=true", "every run is from a clean tree", "supersede it, commit and run it again")


def settings_findings(of: Subject) -> Iterator[Finding]:
    """The columns of the declaration are those that the sweep fills."""
    declared, composed = set(of.comparison.columns), {column for _, column in of.frozen}
    if declared != composed:
        rule = f"{of.comparison.name}.yaml fills {listed(sorted(composed))}"
        yield Finding(of.comparison.name, f"columns={listed(sorted(declared))}", rule, "say these in protocol.yaml")


def repetitions(of: Subject) -> Iterator[Finding]:
    """Runs of one cell and seed, and trials of one contender and one set of values."""
    runs = [(*cell_of(record), f"seed {record['config']['seed']}") for record in of.runs]
    trials = [(*cell_of(record), str(dict(trial(of.comparison, record).values))) for record in of.trials]
    for experiment, made in ((of.comparison.recorded, runs), (of.comparison.tuning, trials)):
        for (row, column, what), count in Counter(made).items():
            if count > 1:
                where = f"{experiment}[{column}, {row}], {what}"
                remedy = "name the earlier one in `superseded` of protocol.yaml, with the reason"
                yield Finding(where, f"{count} runs", "nothing is run again", remedy)


def gaps(of: Subject) -> Iterator[Finding]:
    """Runs that are not there, where no reason is said and more are not to come; and reasons for runs that are."""
    there = {(cell_of(record), record["config"]["seed"]) for record in of.runs}
    for cell in of.frozen:
        for seed in of.comparison.run_seeds:
            where = f"{of.comparison.recorded}[{cell[1]}, {cell[0]}], seed {seed}"
            reason = of.comparison.reason_missing(cell, seed)
            if (cell, seed) not in there and not reason and not of.comparison.is_under_way:
                remedy = "run it, or say in `missing` of protocol.yaml why not"
                yield Finding(where, "no run", "every contender is run with every seed", remedy)
            if (cell, seed) in there and reason:
                yield Finding(where, "a run", f"it is said to be missing: {reason}", "take that out of protocol.yaml")


def exceptions(of: Subject) -> Iterator[Finding]:
    """Superseded runs stay in the record."""
    for one in of.comparison.superseded:
        if not any(is_named(one, record["key"], record["protocol"]) for record in of.all_records):
            named = f"superseded {'key' if 'key' in one else 'protocol'} {one.get('key', one.get('protocol'))}"
            rule = "superseded runs stay in the record"
            yield Finding(of.comparison.name, f"{named}: no such record", rule, "put it back, or correct protocol.yaml")


def order_findings(of: Subject, history: History) -> Iterator[Finding]:
    """The choice was committed, unchanged since, and before any run on the test set was started."""
    said = of.comparison
    for row in dict.fromkeys(cell[0] for cell in of.frozen if of.is_decided(cell) and cell[0] not in said.frozen):
        rule = "the commit of a choice is named before the first run on a test set"
        yield Finding(said.name, f"frozen says nothing of {row}", rule, "name the commit in protocol.yaml")
    if history.unknown:
        return
    for cell, settings in of.frozen.items():
        if cell[0] in said.frozen:
            yield from choice_findings(said, cell[0], settings["dataset.name"], history)
    for record in of.runs:
        frozen = said.frozen.get(cell_of(record)[0])
        for commit in dict.fromkeys(session["commit"] for session in sessions_of(record)):
            if frozen and not history.descends(commit, frozen):
                where, rule = f"{said.recorded} {record['key']}", f"runs on a test set follow {frozen}"
                yield Finding(where, f"commit {commit or 'unknown'}", rule, "supersede it and run it again")


def choice_findings(said: Comparison, row: str, dataset: str, history: History) -> Iterator[Finding]:
    """What was chosen for `row` and `dataset` at the commit that is named, and what is now."""
    then, now = ((history.chosen(said.name, commit) or {}) for commit in (said.frozen[row], "HEAD"))
    where, frozen = f"{said.name}.yaml, {dataset}, {row}", then.get(dataset, {}).get(row)
    if frozen is None:
        value, rule = f"no choice at {said.frozen[row]}", f"the commit that freezes {row} has it under `chosen`"
        yield Finding(where, value, rule, "name that commit in protocol.yaml, and push it")
    elif frozen != now.get(dataset, {}).get(row):
        value, rule = str(now.get(dataset, {}).get(row)), f"{frozen} was chosen at {said.frozen[row]} and stays"
        yield Finding(where, value, rule, "put it back, or freeze and run the row anew")


def listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


def outside(recorded: Mapping[str, Sequence[Record]], subjects: Sequence[Subject]) -> list[str]:
    """What is recorded and not under the protocol: a line for each experiment, or for each cell where some are."""
    under = {(name, cell) for of in subjects for name in experiments_of(of) for cell in of.frozen}
    shared = {name for of in subjects for name in experiments_of(of)}
    rest = Counter(
        f"{name}[{cell[1]}, {cell[0]}]" if name in shared else name
        for name, records in recorded.items()
        for cell in map(cell_of, records)
        if (name, cell) not in under
    )
    return [f"{where}: {count} records, not under the protocol" for where, count in sorted(rest.items())]


def experiments_of(of: Subject) -> tuple[str, str]:
    return of.comparison.recorded, of.comparison.tuning
