"""From a resolved configuration to an ended run: builds the parts and sees that every end is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tightfit.datasets.dataset import Dataset
from tightfit.models.adapters.adapter import Adapter
from tightfit.numerics.seeds import derive
from tightfit.optimizers.shared import for_workers
from tightfit.records.machine import describe_hardware, describe_machine, keep_freed_memory
from tightfit.records.record import FINAL, RunRecord, check_key, read_run
from tightfit.run.attempt import Attempt, Outcome, ends_recorded
from tightfit.run.checkpoint import FILES
from tightfit.run.checks import check_configuration, unknown_settings_told
from tightfit.run.choices import choices_for
from tightfit.run.facts import method_facts
from tightfit.run.fitting import refusal
from tightfit.run.follow import follow
from tightfit.run.group import rank
from tightfit.run.holding import only_process_in
from tightfit.run.interruption import Interruption
from tightfit.run.keys import run_folder
from tightfit.run.loop import run
from tightfit.run.own_code import changed, files_of
from tightfit.run.parts import (
    build,
    build_dataset,
    build_optimizer,
    build_tokenizer,
    choose_device,
    without_descriptions,
)
from tightfit.run.pretraining import pretraining_config, take_pretrained
from tightfit.run.progress import describe, say
from tightfit.run.sentences import of_data, of_end
from tightfit.run.start import take_start
from tightfit.run.task import LARGEST, Task, Training
from tightfit.run.trust import check_data


def carry_out(config: Mapping[str, Any], command: Sequence[str] = ()) -> Outcome:
    """Run what `config` describes unless it already ended; a finished run is returned as it is.

    command: the words that `config` was composed from, for the record. With force=true among them a run that ended, or
    stopped, is made again in the place of its record.

    Raises KeyboardInterrupt after an interrupted run was recorded, so that a sweep stops too, and an error among
    EXPECTED where nothing can be recorded, or what is on record must stay.
    """
    if Interruption.process_is_stopping:
        raise KeyboardInterrupt
    keep_freed_memory()
    check_configuration(config)
    folder = run_folder(config)
    if config.get("distributed") and rank() > 0:
        return followed(config, folder)
    label = describe(config)
    is_forced = bool(config.get("force"))
    config = {name: value for name, value in config.items() if name != "force"}
    with only_process_in(folder, label):
        if is_forced:
            forget(folder)
            command = [word for word in command if not word.startswith("force=")]
        before = read_run(folder)
        if before is not None:
            check_key(before, folder)
            check_data(config, before, folder)
        if before is not None and before.status in FINAL:
            say(label, f"already {before.status} in {folder}")
            if told := changed(before.own_code, files_of(config)):
                say(label, told)
            build(config["tracker"]).complete(before, folder)
            return Outcome(before.status, folder, before.reason)
        record = attempt(config, folder, label, before, command)
    say(label, of_end(record, folder))
    if record.status == "interrupted":
        raise KeyboardInterrupt(record.reason)
    return Outcome(record.status, folder, record.reason)


def followed(config: Mapping[str, Any], folder: Path) -> Outcome:
    """As a worker that is not the first, make the steps of the run unless it already ended."""
    before = read_run(folder)
    if config.get("force") or before is None or before.status not in FINAL:
        follow(config, folder, build_task)
    return Outcome("finished", folder)


def forget(folder: Path) -> None:
    """Delete what a run left in `folder`, so that it is made from its beginning; what was exported stays."""
    for pattern in FILES:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def attempt(
    config: Mapping[str, Any], folder: Path, label: str, before: RunRecord | None, command: Sequence[str] = ()
) -> RunRecord:
    """Run what `config` describes, from its checkpoint where it has one; the record is written however the run ends.

    before: what is on record of the run.
    """
    one = Attempt.begun(config, folder, label, before, command)
    with ends_recorded([one]):
        task = build_task(config, one.record)
        one.tell(of_data(one.record.dataset))
        run(task, one.record, folder, one.tracker, one.progress, one.tell)
        one.is_over = True
    return one.record


def build_task(config: Mapping[str, Any], record: RunRecord) -> Task:
    """The parts of the run, with what they are noted in `record`.

    Where `config` has a part `smaller`, with parts to take instead, these are taken if the budget refuses even the
    smallest batch; they may have a `smaller` of their own.
    Raises ValueError for impossible values and DataUnavailable when the data set cannot be had.
    """
    passed_over: list[dict[str, str]] = []
    while True:
        task = assemble(config, record)
        record.model = {"name": config["model"]["name"], "passed_over": passed_over}
        record.machine["choices"] = choices_for(task)
        smaller = config.get("smaller")
        reason = refused(task) if smaller else ""
        if not smaller or not reason:
            return task
        passed_over.append({"name": config["model"]["name"], "reason": reason})
        del task  # before the next one takes its place
        config = {**config, "smaller": None, **smaller}


def refused(task: Task) -> str:
    """Why the budget refuses the smallest batch the task could have; empty when it allows that."""
    size = task.training.batch_size
    return refusal(task, task.table, 1 if size == LARGEST else int(size))


def assemble(config: Mapping[str, Any], record: RunRecord) -> Task:
    training = Training(**config["training"])
    budget = build(config["memory_budget"])
    workers = (config.get("distributed") or {}).get("workers", 1)
    optimizer = for_workers(build_optimizer(config), workers)
    adapter = build(without_descriptions(config["adapter"]))
    device = choose_device(config)
    record.machine = describe_machine(device) | describe_hardware(device)
    tokenizer = build_tokenizer(config)
    dataset = build_dataset(config, tokenizer)
    record.dataset = {
        "name": dataset.name,
        "route": dataset.route,
        "checksums": dataset.checksums,
        "scored": dataset.scored,
        **dataset.balance,
        **dataset.details,
    }
    model = build_model(config, dataset, tokenizer, adapter)
    record.method = method_facts(optimizer, model, config)
    return Task(optimizer, model, dataset, budget, training, config["seed"], device, workers)


def build_model(config: Mapping[str, Any], dataset: Dataset, tokenizer: Any, adapter: Adapter) -> nn.Module:
    """A fresh model, or one with the weights that it starts from, those of a pretraining run that is made first if need
    be, or those named; and in it the adapter."""
    described = {name: value for name, value in config["model"].items() if name not in ("name", "tokenizer")}
    reading = {} if tokenizer is None else {"tokenizer": tokenizer, "answers": dataset.answers}
    # A network that ignores `seed` draws from PyTorch's own numbers: the same ones whenever it is made.
    with unknown_settings_told("model", config["model"]), torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config["seed"], "initial weights"))
        model: nn.Module = build(described, classes=dataset.classes, seed=config["seed"], **reading)
    if config["pretraining"]:
        take_pretrained(model, pretraining_config(config), carry_out)
    start = config.get("start_from")
    if not start:
        adapter.inject(model, config["seed"])
    elif config["pretraining"]:
        raise ValueError(f"start_from={start['name']} and pretraining both say what to start from; leave one out")
    else:
        take_start(model, start, lambda: adapter.inject(model, config["seed"]))
    return model
