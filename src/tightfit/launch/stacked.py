"""The runs of a sweep that differ in seeds and scalars alone, trained side by side in this process: see `run.stack`.

Runs that cannot be stacked, or have nobody to be stacked with, are made one by one, and the reason is said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from tightfit.datasets.dataset import Dataset
from tightfit.records.machine import keep_freed_memory
from tightfit.records.record import read_run
from tightfit.run.attempt import Attempt, Outcome, ends_recorded
from tightfit.run.checks import check_configuration
from tightfit.run.faults import EXPECTED
from tightfit.run.holding import has_ended, only_process_in
from tightfit.run.keys import run_folder
from tightfit.run.loop import Run, prepared
from tightfit.run.progress import describe, say
from tightfit.run.session import build_task, carry_out, forget
from tightfit.run.stack import CannotStack, Stack
from tightfit.run.trust import check_data
from tightfit.tracking.local import LocalOnly

Config = Mapping[str, Any]
# What may differ within a stack: of the run, and of its method. Data are looked at when they are there.
OF_RUN = ("seed", "dataset", "experiment", "cell", "profile", "tracker", "paths")
OF_OPTIMIZER = ("lr", "eps", "clip", "bp_lr")


def afresh(config: Config) -> Config:
    """`config`, whose run is forgotten where it is to be made again."""
    if config.get("force"):
        with only_process_in(run_folder(config), describe(config)):
            forget(run_folder(config))
    return {name: value for name, value in config.items() if name != "force"}


def carry_out_stacked(configs: Sequence[Config], most: int) -> list[Outcome | BaseException]:
    """The outcomes of the runs that `configs` describe, at most `most` in a stack; or the errors that no record tells.

    Raises KeyboardInterrupt when told to stop, once what is under way is recorded.
    """
    keep_freed_memory()
    configs = [afresh(config) for config in configs]
    answers: dict[int, Outcome | BaseException] = {}
    for group in groups_of(configs, most):
        if len(group) > 1:
            answers |= zip(group, together([configs[job] for job in group]), strict=False)
    for job, config in enumerate(configs):
        if job not in answers:
            answers[job] = alone(config)
    return [answers[job] for job in range(len(configs))]


def alone(config: Config) -> Outcome | BaseException:
    try:
        return carry_out(config)
    except EXPECTED as error:
        return error


def groups_of(configs: Sequence[Config], most: int) -> list[list[int]]:
    """The numbers of runs that may go together: each run once, and none that has ended or cannot be meant."""
    groups: dict[str, list[int]] = {}
    folders = set()
    for job, config in enumerate(configs):
        try:
            check_configuration(config)
            folder = run_folder(config)
            is_over = has_ended(folder)
        except ValueError:  # made alone it tells
            continue
        if folder not in folders and not is_over:
            folders.add(folder)
            groups.setdefault(what_is_shared(config), []).append(job)
    return [group[start : start + most] for group in groups.values() for start in range(0, len(group), most)]


def what_is_shared(config: Config) -> str:
    """What must be equal of runs in a stack, as text."""
    shared = {name: value for name, value in config.items() if name not in OF_RUN}
    shared["optimizer"] = {name: value for name, value in config["optimizer"].items() if name not in OF_OPTIMIZER}
    return json.dumps(shared, sort_keys=True)


def together(configs: Sequence[Config]) -> list[Outcome]:
    """Train the runs that `configs` describe as one; none where they cannot be, for the reason that is said."""
    with ExitStack() as held:
        in_order = sorted(configs, key=run_folder)  # lest processes wait for one another
        for config in in_order:
            held.enter_context(only_process_in(run_folder(config), describe(config)))
        try:
            attempts = [begun(config) for config in in_order]
            stack = stack_of(attempts)
        except (*EXPECTED, RuntimeError) as reason:
            say(f"{len(configs)} runs", f"one by one, for they cannot be stacked: {reason}")
            return []
        say(f"{len(configs)} runs", "stacked")
        stack.runs[0].will_tell(lambda text: say(f"{len(configs)} runs", text))
        with ends_recorded(attempts):
            stack.train(over=lambda number: setattr(attempts[number], "is_over", True))
    for one in attempts:
        say(one.label, f"{one.record.status}: {one.record.reason}" if one.record.reason else one.record.status)
    if any(one.record.status == "interrupted" for one in attempts):
        raise KeyboardInterrupt
    outcomes = {one.folder: Outcome(one.record.status, one.folder, one.record.reason) for one in attempts}
    return [outcomes[run_folder(config)] for config in configs]


def begun(config: Config) -> Attempt:
    """Raises ValueError where the run saw other data before."""
    folder = run_folder(config)
    before = read_run(folder)
    if before is not None:
        check_data(config, before, folder)
    return Attempt.begun(config, folder, describe(config), before)


def stack_of(attempts: Sequence[Attempt]) -> Stack:
    """The stack of all runs. Raises CannotStack, and what keeps a run from being made."""
    shared: dict[str, Dataset] = {}
    runs = [run_of(one, shared) for one in attempts]
    refused = [one.label for one, run in zip(attempts, runs, strict=True) if run is None]
    if refused:
        raise CannotStack(f"the budget refuses {refused[0]}")
    return Stack([run for run in runs if run is not None])


def run_of(one: Attempt, shared: dict[str, Dataset]) -> Run | None:
    """The run, on data that are on its device once for all runs that they are of; None where its budget refuses it."""
    task = build_task(one.record.config, one.record)
    described = json.dumps(one.record.config["dataset"], sort_keys=True)
    if described not in shared:
        data = task.dataset
        shared[described] = replace(data, train=data.train.to(task.device), test=data.test.to(task.device))
    # A refusal is recorded, by the tracker too, when the run is made by itself.
    run = prepared(replace(task, dataset=shared[described]), one.record, one.folder, LocalOnly(), one.progress)
    if run is not None:
        run.tracker = one.tracker
    return run
