"""A comparison that keeps to the protocol, and for each rule the smallest change that breaks it and no other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from analysis.check import Subject, findings, notes, outside, subject
from analysis.protocol import Comparison, comparison

ENTRY = {
    "status": "complete",
    "recorded": "paper/table",
    "columns": ["mnist"],
    "tuning": "paper/tuning/table",
    "settings": {"lr": "optimizer.lr", "bp_lr": "optimizer.bp_lr"},
    "trials": 3,
    "held_out": 100,
    "least_share": 0.5,
    "trial_seeds": [100],
    "run_seeds": [0, 1],
    "frozen": {"zo": "freeze", "hybrid": "freeze"},
    "last": {},
}
CHOSEN = {"zo": {"lr": 0.2}, "hybrid": {"lr": 0.02, "bp_lr": 0.5}}
BOX = {
    "zo": [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.4}],
    "hybrid": [{"lr": 0.02, "bp_lr": 0.5}, {"lr": 0.01, "bp_lr": 0.7}, {"lr": 0.03, "bp_lr": 0.6}],
}
ACCURACIES = {"zo": [0.7, 0.8, 0.6], "hybrid": [0.9, 0.85, 0.8]}


class Past:
    """A history in which commits have names: `freeze`, then whatever begins with `after`."""

    unknown = ""

    def __init__(self, then: Any = CHOSEN) -> None:
        self._then = {"mnist": then}

    def descends(self, commit: str, ancestor: str) -> bool:
        return commit.startswith("after") and ancestor == "freeze"

    def chosen(self, name: str, commit: str) -> Any:
        return {"mnist": CHOSEN} if commit == "HEAD" else self._then


def config(row: str, seed: int, values: Mapping[str, Any], **training: Any) -> dict[str, Any]:
    return {
        "cell": {"row": row, "column": "mnist"},
        "seed": seed,
        "optimizer": {"eps": 0.001, **values},
        "dataset": {"name": "mnist", "held_out": 0},
        "training": {"epochs": 10, "fraction": 1.0, **training},
    }


def record(key: str, config: Mapping[str, Any], scored: str, accuracy: float) -> dict[str, Any]:
    return {
        "key": key,
        "config": config,
        "status": "finished",
        "dataset": {"scored": scored},
        "summary": {"final_accuracy": accuracy, "final_loss": 1 - accuracy},
        "protocol": 2,
        "commit": "after 1",
        "dirty": False,
    }


class World:
    """What is on record, for a test to change; `findings` are then the words of what is wrong."""

    def __init__(self) -> None:
        self.entry = copy.deepcopy(ENTRY)
        self.composed = [config(row, 0, values) for row, values in CHOSEN.items()]
        self.runs = [
            record(f"{row}-{seed}", config(row, seed, values), "test", 0.8)
            for row, values in CHOSEN.items()
            for seed in (0, 1)
        ]
        self.trials = [
            record(f"{row}-t{place}", config(row, 100, values, fraction=0.5), "validation", ACCURACIES[row][place])
            for row, box in BOX.items()
            for place, values in enumerate(box)
        ]
        for trial in self.trials:
            trial["config"]["dataset"]["held_out"] = 100
        self.past = Past()

    def trial(self, key: str) -> dict[str, Any]:
        return next(one for one in self.trials if one["key"] == key)

    def run(self, key: str) -> dict[str, Any]:
        return next(one for one in self.runs if one["key"] == key)

    def without(self, *keys: str) -> None:
        self.runs = [one for one in self.runs if one["key"] not in keys]
        self.trials = [one for one in self.trials if one["key"] not in keys]

    @property
    def comparison(self) -> Comparison:
        return comparison("paper/table", self.entry)

    @property
    def subject(self) -> Subject:
        return subject(self.comparison, self.composed, self.runs, self.trials)

    @property
    def findings(self) -> list[str]:
        return list(map(str, findings(self.subject, self.past)))


@pytest.fixture
def world() -> World:
    return World()


def test_a_comparison_that_keeps_to_the_protocol_has_no_findings(world: World):
    assert world.findings == []
    assert notes(world.subject, world.past) == ["paper/table: 6 of 6 trials, 4 of 4 runs, complete"]


def test_a_method_may_be_told_of_the_fraction_of_a_trial(world: World):
    for one in [*world.composed, *(run["config"] for run in world.runs)]:
        one["optimizer"]["fraction"] = 1.0
    for trial in world.trials:
        trial["config"]["optimizer"]["fraction"] = 0.5
    assert world.findings == []


def test_a_contender_none_of_whose_trials_fits_has_nothing_to_choose(world: World):
    for one in [*world.trials, *world.runs]:
        if one["key"].startswith("zo"):
            one |= {"status": "over_budget", "summary": {}}
    assert world.findings == []
    world.trial("zo-t0")["status"] = "diverged"
    assert any("no trial finished" in finding for finding in world.findings)


def change(path: str, value: Any, of: str = "zo-1") -> Callable[[World], None]:
    """Set a part of the run or trial `of`."""

    def make(world: World) -> None:
        *parents, name = path.split(".")
        part = next(one for one in [*world.runs, *world.trials] if one["key"] == of)
        for parent in parents:
            part = part[parent]
        part[name] = value

    return make


def add_run(world: World) -> None:
    world.runs.append({**world.run("zo-1"), "key": "zo-again"})


def add_trial(world: World) -> None:
    world.trials.append({**copy.deepcopy(world.trial("hybrid-t2")), "key": "hybrid-t3"})
    world.trials[-1]["config"]["optimizer"] |= {"lr": 0.025}


def repeat_trial(world: World) -> None:
    world.trials.append({**world.trial("hybrid-t2"), "key": "hybrid-again"})


def lose(key: str) -> Callable[[World], None]:
    return lambda world: world.without(key)


def let_the_edge_win(world: World) -> None:
    world.trial("zo-t2")["summary"] = {"final_accuracy": 0.95, "final_loss": 0.1}
    for config in [world.composed[0], *(one["config"] for one in world.runs if one["key"].startswith("zo"))]:
        config["optimizer"]["lr"] = 0.4


def say(name: str, value: Any) -> Callable[[World], None]:
    return lambda world: world.entry.__setitem__(name, value)


def change_the_choice(world: World) -> None:
    world.past = Past({**CHOSEN, "zo": {"lr": 0.1}})


def forget_the_commit(world: World) -> None:
    world.past = Past({"hybrid": CHOSEN["hybrid"]})


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (change("config.optimizer.lr", 0.3), "paper/table zo-1: optimizer.lr=0.3; paper/table.yaml has 0.2, and runs"),
        (change("config.optimizer.eps", 0.1), "paper/table zo-1: optimizer.eps=0.1; paper/table.yaml has 0.001"),
        (change("config.training.epochs", 5), "paper/table zo-1: training.epochs=5; paper/table.yaml has 10"),
        (change("config.optimizer.bp_lr", 1), "paper/table zo-1: optimizer.bp_lr=1; bp_lr is no part of what was"),
        (change("dirty", True), "paper/table zo-1: dirty=true; every run is from a clean tree; supersede"),
        (change("commit", "before"), "paper/table zo-1: commit before; runs on a test set follow freeze; supersede"),
        (change("commit", ""), "paper/table zo-1: commit unknown; runs on a test set follow freeze"),
        (add_run, "paper/table[mnist, zo], seed 1: 2 runs; nothing is run again; name the earlier one"),
        (lose("zo-1"), "paper/table[mnist, zo], seed 1: no run; every contender is run with every seed; run it, or"),
        (lose("hybrid-t2"), "paper/table[mnist, hybrid]: 2 trials in paper/tuning/table; every contender has 3; run"),
        (add_trial, "paper/table[mnist, hybrid]: 4 trials in paper/tuning/table; every contender has 3, and only a"),
        (repeat_trial, "paper/tuning/table[mnist, hybrid], {'lr': 0.03, 'bp_lr': 0.6}: 2 runs; nothing is run again"),
        (change("dataset.scored", "test", "zo-t0"), "paper/tuning/table zo-t0: scored on test, 100 held out; a trial"),
        (change("config.dataset.held_out", 50, "zo-t0"), "zo-t0: scored on validation, 50 held out; a trial is scored"),
        (change("config.seed", 7, "zo-t0"), "zo-t0: seed=7; trials have the seeds 100, and runs others; leave it out"),
        (change("config.training.fraction", 0.4, "zo-t0"), "zo-t0: 0.4 of the full length; a trial is at least 0.5"),
        (
            change("config.training.epochs", 5, "zo-t0"),
            "zo-t0: training.epochs=5; paper/table runs with 10, and trials",
        ),
        (change("config.optimizer.eps", 1, "zo-t0"), "zo-t0: optimizer.eps=1; paper/table runs with 0.001, and trials"),
        (change("dirty", True, "zo-t0"), "paper/tuning/table zo-t0: dirty=true; every run is from a clean tree"),
        (
            change("summary", {"final_accuracy": 0.95, "final_loss": 1.0}, "hybrid-t1"),
            "paper/table[mnist, hybrid]: paper/table.yaml has {'lr': 0.02, 'bp_lr': 0.5}; trial hybrid-t1 with",
        ),
        (let_the_edge_win, "paper/table[mnist, zo]: lr=0.4 won; a winner at an edge is extended; try further"),
        (
            say("frozen", {"zo": "freeze"}),
            "paper/table: frozen says nothing of hybrid; the commit of a choice is named",
        ),
        (
            change_the_choice,
            "paper/table.yaml, mnist, zo: {'lr': 0.2}; {'lr': 0.1} was chosen at freeze and stays; put",
        ),
        (
            forget_the_commit,
            "paper/table.yaml, mnist, zo: no choice at freeze; the commit that freezes zo has it under",
        ),
        (
            say("superseded", [{"key": "lost", "reason": "a fault"}]),
            "paper/table: superseded key lost: no such record; superseded runs stay in the record; put it back",
        ),
        (
            say("missing", [{"row": "zo", "column": "mnist", "seed": 1, "reason": "no time"}]),
            "paper/table[mnist, zo], seed 1: a run; it is said to be missing: no time; take that out",
        ),
    ],
)
def test_what_breaks_one_rule_has_one_finding(world: World, make: Callable[[World], None], expected: str):
    make(world)
    (found,) = world.findings
    assert expected in found


def test_a_run_with_a_seed_that_was_not_named_is_told_beside_the_one_that_is_missing(world: World):
    change("config.seed", 5)(world)
    assert any(
        said.startswith("paper/table zo-1: seed=5; runs have the seeds 0, 1; take it out") for said in world.findings
    )
    assert len(world.findings) == 2


def test_a_seed_of_trials_that_runs_have_too_is_refused(world: World):
    world.entry["trial_seeds"] = [100, 0]
    change("config.seed", 0, "zo-t0")(world)
    assert ["seed=0" in said for said in world.findings] == [True]


def test_columns_that_the_file_does_not_fill_are_told(world: World):
    world.entry["columns"] = ["mnist", "cifar"]
    (found,) = world.findings
    assert found == "paper/table: columns=cifar, mnist; paper/table.yaml fills mnist; say these in protocol.yaml"


def test_a_contender_without_a_trial_has_fewer_than_the_others(world: World):
    world.without("zo-t0", "zo-t1", "zo-t2")
    (found,) = world.findings
    assert found.startswith("paper/table[mnist, zo]: 0 trials")


def test_all_that_diverged_is_no_choice(world: World):
    for place in range(3):
        world.trial(f"zo-t{place}")["status"] = "diverged"
    (found,) = world.findings
    assert found.startswith("paper/table[mnist, zo]: no trial finished")


def test_the_last_value_that_a_method_takes_may_win(world: World):
    let_the_edge_win(world)
    world.entry["last"] = {"lr": [0.4]}
    assert world.findings == []


def test_a_grid_may_be_extended_beyond_the_trials_of_others(world: World):
    let_the_edge_win(world)
    world.trials.append({**copy.deepcopy(world.trial("zo-t0")), "key": "zo-t3"})
    world.trials[-1]["config"]["optimizer"]["lr"] = 0.8
    assert world.findings == []


def test_of_a_run_in_several_sessions_each_is_checked(world: World):
    sessions = [
        {"commit": commit, "dirty": dirty, "from_step": 0, "to_step": 5}
        for commit, dirty in (("after 1", False), ("before", False), ("after 2", True))
    ]
    change("sessions", sessions)(world)
    assert [said.split(";")[0] for said in world.findings] == [
        "paper/table zo-1: dirty=true",
        "paper/table zo-1: commit before",
    ]


@pytest.mark.parametrize("named", [{"key": "zo-0"}, {"protocol": 1}])
def test_superseded_runs_are_not_judged_and_stay_on_record(world: World, named: dict[str, Any]):
    old = copy.deepcopy(world.run("zo-0"))
    old |= {"commit": "before", "dirty": True, **named}
    world.run("zo-0")["key"] = "zo-new"
    world.runs.append(old)
    world.entry["superseded"] = [{**named, "reason": "before the protocol"}]
    assert world.findings == []
    assert "paper/table: 1 superseded records" in notes(world.subject, world.past)


def test_rows_are_frozen_one_by_one_and_only_those_are_judged(world: World):
    world.entry |= {"status": "under way", "frozen": {"hybrid": "freeze"}}
    world.without("zo-0", "zo-1", "zo-t1", "zo-t2")
    assert world.findings == []
    world.entry["frozen"] = {"hybrid": "freeze", "zo": "freeze"}
    assert [said.split(";")[0] for said in world.findings] == [
        "paper/table[mnist, zo]: 1 trials in paper/tuning/table",
        "paper/table[mnist, zo]: paper/table.yaml has {'lr': 0.2}",
    ]


def test_trials_of_a_modified_tree_count_only_with_a_reason_and_runs_never(world: World):
    world.entry["modified_trials"] = [{"commit": "after", "reason": "the files were those of the next commit"}]
    change("dirty", True, "zo-t0")(world)
    assert world.findings == []
    world.entry["modified_trials"][0]["commit"] = "another"
    assert len(world.findings) == 1
    world.entry["modified_trials"][0]["commit"] = "after"
    change("dirty", True)(world)
    assert [said.split(":")[0] for said in world.findings] == ["paper/table zo-1"]


def test_a_missing_run_may_have_a_reason(world: World):
    world.without("zo-1")
    world.entry["missing"] = [
        {"row": "zo", "column": "mnist", "seed": 1, "reason": "the machine was lent for two hours"}
    ]
    assert world.findings == []


def test_under_way_missing_runs_are_listed_and_no_findings(world: World):
    world.without("zo-1")
    world.entry["status"] = "under way"
    assert world.findings == []
    assert notes(world.subject, world.past) == ["paper/table: 6 of 6 trials, 3 of 4 runs, under way"]


def test_before_the_choice_trials_may_be_missing_but_not_bad(world: World):
    world.entry |= {"status": "under way", "frozen": {}}
    world.runs = []
    world.without("zo-t2", "hybrid-t0")
    assert world.findings == []
    assert "paper/table: not frozen yet: zo, hybrid" in notes(world.subject, world.past)
    change("dataset.scored", "test", "zo-t0")(world)
    assert len(world.findings) == 1


def test_a_run_before_its_choice_is_judged_although_more_are_to_come(world: World):
    world.entry |= {"status": "under way", "frozen": {"hybrid": "freeze"}}
    world.without("zo-t2")
    assert [said.split(";")[0] for said in world.findings] == [
        "paper/table[mnist, zo]: 2 trials in paper/tuning/table",
        "paper/table[mnist, zo]: lr=0.2 won",
        "paper/table: frozen says nothing of zo",
    ]


def test_where_the_history_is_unknown_the_order_is_not_checked_and_that_is_said(world: World):
    change("commit", "before")(world)
    world.past.unknown = "this clone is shallow"
    assert world.findings == []
    assert notes(world.subject, world.past)[-1].endswith("the order of commits is not checked: this clone is shallow")


def test_a_setting_that_came_later_is_no_difference(world: World):
    world.composed[0]["optimizer"]["kernel"] = "auto"
    assert world.findings == []


def test_settings_are_compared_in_one_form(world: World):
    change("config.optimizer.eps", "1e-3")(world)

    def numbers(config: Mapping[str, Any]) -> dict[str, Any]:
        return {**config, "optimizer": {name: float(value) for name, value in config["optimizer"].items()}}

    said = subject(world.comparison, world.composed, world.runs, world.trials, numbers)
    assert findings(said, world.past) == []


def test_what_is_not_under_the_protocol_is_listed(world: World):
    others = [record(f"o{row}", config(row, 0, {}), "test", 0.5) for row in ("adam", "adam", "zo")]
    others[2]["config"]["cell"]["column"] = "cifar"
    recorded = {"paper/table": [*world.runs, *others], "paper/tuning/table": world.trials, "paper/other": [others[0]]}
    assert outside(recorded, [world.subject]) == [
        "paper/other: 1 records, not under the protocol",
        "paper/table[cifar, zo]: 1 records, not under the protocol",
        "paper/table[mnist, adam]: 2 records, not under the protocol",
    ]
