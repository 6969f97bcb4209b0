"""From a resolved configuration to an ended run: builds the parts and sees that every end is recorded."""

from __future__ import annotations

import fcntl
import json
import re
import signal
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import nn

from tightfit.datasets.dataset import Dataset, DataUnavailable
from tightfit.memory.enforcement import is_exhaustion
from tightfit.models.adapters.adapter import Adapter
from tightfit.numerics import CODE_VERSION
from tightfit.optimizers.base import Optimizer
from tightfit.records.machine import commit, describe_hardware, describe_machine, keep_freed_memory
from tightfit.records.record import (
    FINAL,
    LOCK,
    RunRecord,
    Status,
    clear_temporaries,
    is_held,
    read_run,
    require,
    rests_on_own_files,
    write_run,
)
from tightfit.run import checkpoint
from tightfit.run.checks import check_configuration, own_targets, targets_in, unknown_settings_told
from tightfit.run.choices import choices_for
from tightfit.run.facts import method_facts
from tightfit.run.fitting import refusal
from tightfit.run.history import begin_session, end_session, now
from tightfit.run.interruption import Interruption
from tightfit.run.keys import DESCRIPTIONS, run_folder
from tightfit.run.loop import CHECKPOINT, FILES, WEIGHTS, run
from tightfit.run.spellings import NO_ADAPTER, in_todays_form
from tightfit.run.task import LARGEST, Task, Training
from tightfit.settings import TRUST, WrongWords
from tightfit.tracking.tracker import Tracker

DESCRIBED = ("optimizer", "adapter")  # parts with settings that only describe them
# Errors of the user's input or machine: one line tells them. Anything else is a fault of ours and shows its trace.
EXPECTED = (ValueError, DataUnavailable, OSError, MemoryError, torch.OutOfMemoryError)


@dataclass(frozen=True)
class Outcome:
    """How a run ended, why, and where its record is."""

    status: Status
    folder: Path
    reason: str = ""


def carry_out(config: Mapping[str, Any], command: Sequence[str] = ()) -> Outcome:
    """Run what `config` describes unless it already ended; a finished run is returned as it is.

    command: the words that `config` was composed from, for the record.

    Raises KeyboardInterrupt after an interrupted run was recorded, so that a sweep stops too, and an error among
    EXPECTED where nothing can be recorded, or what is on record must stay.
    """
    if Interruption.process_is_stopping:
        raise KeyboardInterrupt
    keep_freed_memory()
    config = in_todays_form(config)
    check_configuration(config)
    folder = run_folder(config)
    label = describe(config)
    with only_process_in(folder, label):
        before = read_run(folder)
        if before is not None:
            check_data(config, before, folder)
        if before is not None and before.status in FINAL:
            say(label, f"already {before.status} in {folder}")
            build(config["tracker"]).complete(before, folder)
            return Outcome(before.status, folder, before.reason)
        record = attempt(config, folder, label, before, command)
    say(label, f"{record.status}: {record.reason}" if record.reason else f"{record.status} in {folder}")
    if record.status == "interrupted":
        raise KeyboardInterrupt
    return Outcome(record.status, folder, record.reason)


def attempt(
    config: Mapping[str, Any], folder: Path, label: str, before: RunRecord | None, command: Sequence[str] = ()
) -> RunRecord:
    """Run what `config` describes, from its checkpoint where it has one; the record is written however the run ends.

    before: what is on record of the run.
    """
    one = Attempt.begun(config, folder, label, before, command)
    with ends_recorded([one]):
        run(build_task(config, one.record), one.record, folder, one.tracker, one.progress)
        one.is_over = True
    return one.record


@dataclass
class Attempt:
    """A session of a run, from its beginning to its recorded end."""

    record: RunRecord
    folder: Path
    tracker: Tracker
    label: str
    is_over: bool = False  # as the record says, and not by an error

    @classmethod
    def begun(
        cls, config: Mapping[str, Any], folder: Path, label: str, before: RunRecord | None, command: Sequence[str] = ()
    ) -> Attempt:
        record = RunRecord(key=folder.name, experiment=config["experiment"], config=dict(config), started_at=now())
        record.command, record.code_version = list(command), CODE_VERSION
        record.commit, record.dirty = commit()
        record.dataset = before.dataset if before else {}  # known, even if the data cannot be had this time
        begin_session(record, before, folder)
        return cls(record, folder, build(config["tracker"]), label)

    def progress(self, done: float, accuracy: float, seconds: float) -> None:
        report(self.label, done, accuracy, seconds)


@contextmanager
def ends_recorded(attempts: Sequence[Attempt]) -> Generator[None]:
    """However what is done inside ends, that is written in the records of `attempts`; only faults of ours go on."""
    try:
        yield
    except KeyboardInterrupt:
        end_all(attempts, "interrupted", "stopped on request; run again to continue")
    except BaseException as error:
        end_all(attempts, "failed", reason_of(error))
        if not is_expected(error):
            raise
    finally:
        for one in attempts:
            write_end(one.folder, one.record)
            one.tracker.finish(one.record)


def end_all(attempts: Sequence[Attempt], status: Status, reason: str) -> None:
    for one in attempts:
        if not one.is_over:
            one.record.status, one.record.reason = status, reason


def is_expected(error: BaseException) -> bool:
    """Whether one line tells an error, because it is of the user's input or machine."""
    return isinstance(error, EXPECTED) or is_exhaustion(error) or is_overflow(error)


def is_overflow(error: BaseException) -> bool:
    """Whether `error` is PyTorch's or Python's way of saying that a number does not fit a type."""
    return isinstance(error, OverflowError) or (isinstance(error, RuntimeError) and "without overflow" in str(error))


def reason_of(error: BaseException) -> str:
    """The error in one line, with what to do where its own words do not say it."""
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    line = said.partition("\n")[0]
    if is_exhaustion(error):
        return f"{line}; memory ran out, so free some, or choose a smaller training.batch_size or another method"
    if is_overflow(error):
        return f"{line}; a setting is too large a number, so lower the learning rate or what else was set"
    return said


def check_data(config: Mapping[str, Any], before: RunRecord, folder: Path) -> None:
    """Raise ValueError when the run that `before` has on record in `folder` saw other data than `config` names now.

    Data without a checksum on record, and data that are gone, contradict nothing.
    """
    known = before.dataset.get("checksums", {})
    has_trained = before.status in FINAL or (folder / CHECKPOINT).exists()
    if not has_trained or not known or not rests_on_own_files(before, config):
        return
    try:
        found = checksums(json.dumps({part: config[part] for part in ("dataset", "model")}))
    except (DataUnavailable, OSError):
        return
    for name in known.keys() & found.keys():
        if known[name] != found[name]:
            raise ValueError(
                f"{folder} is a run on {name} with sha256 {known[name][:12]}…, but that has {found[name][:12]}… now; "
                f"put the earlier data back, or keep the runs on the new ones elsewhere by paths.runs=…"
            )


def check_code(folder: Path, trusted: bool) -> None:
    """Raise ValueError when the record in `folder` names code that no option of conf/ names, unless it is `trusted`.

    Building what a record names is running it: a record that came from somebody else is not to choose what is run.
    """
    record = read_run(folder)
    foreign = sorted(targets_in(record.config) - own_targets()) if record and not trusted else []
    if foreign:
        raise WrongWords(
            f"{folder / 'run.json'} names {foreign[0]}, which is no part of tightfit and would be run; "
            f"say {TRUST} if the run is your own"
        )


@cache  # many runs of a sweep share their data
def checksums(described: str) -> Mapping[str, str]:
    """Of the data that a configuration in JSON names, as they are now."""
    config = json.loads(described)
    return build_dataset(config, build_tokenizer(config)).checksums


def build_task(config: Mapping[str, Any], record: RunRecord) -> Task:
    """The parts of the run, with what they are noted in `record`.

    Where `config` has a part `smaller`, with parts to take instead, these are taken if the budget refuses even the
    smallest batch; they may have a `smaller` of their own.
    Raises ValueError for impossible values and DataUnavailable when the data set cannot be had.
    """
    config = in_todays_form(config)
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
    optimizer, adapter = build_optimizer(config), build(without_descriptions(config["adapter"]))
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
    return Task(optimizer, model, dataset, budget, training, config["seed"], device)


def check_parts(config: Mapping[str, Any]) -> None:
    """Raise ValueError for what can be told of `config` to be impossible without its data and its model."""
    config = in_todays_form(config)
    check_configuration(config)
    checked_device(config)
    for part in ("memory_budget", "optimizer", "adapter", "tracker"):
        build(without_descriptions(config[part]) if part in DESCRIBED else config[part])


def build(part: Mapping[str, Any], **arguments: Any) -> Any:
    """The object that `part` describes; an error in its making is raised as itself, not as Hydra's wrapping of it."""
    try:
        make = instantiate({**part, "_partial_": True})  # Hydra would turn arguments into configurations
    except InstantiationException as error:
        if error.__cause__ and is_expected(error.__cause__):
            raise error.__cause__ from None
        raise
    return make(**arguments)


def build_optimizer(config: Mapping[str, Any]) -> Optimizer:
    return build(without_descriptions(config["optimizer"]))


def without_descriptions(part: Mapping[str, Any]) -> dict[str, Any]:
    """`part` of a method without what only says something of it, in its own parts too."""
    return {
        name: without_descriptions(value) if isinstance(value, Mapping) else value
        for name, value in part.items()
        if name not in DESCRIPTIONS
    }


def choose_device(config: Mapping[str, Any]) -> torch.device:
    torch.set_num_threads(config["threads"])
    return checked_device(config)


def checked_device(config: Mapping[str, Any]) -> torch.device:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", str(config["device"])):
        raise ValueError(f"device={config['device']} is not a device to train on; choose cpu or cuda")
    device = torch.device(config["device"])
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={config['device']} but this machine has no CUDA device; choose device=cpu")
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # of products in 11 bits the losses at ±eps differ by their rounding
    return device


def build_tokenizer(config: Mapping[str, Any]) -> Any:
    """What the model reads text by; None for a model that reads none."""
    return build(config["model"]["tokenizer"]) if "tokenizer" in config["model"] else None


def build_dataset(config: Mapping[str, Any], tokenizer: Any) -> Dataset:
    """The data set, a text task in the model's tokens. Raises ValueError when only one of the two is about text."""
    is_text = "template" in config["dataset"]
    if is_text != (tokenizer is not None):
        names = [config[part]["name"] for part in ("dataset", "model")]
        kinds = ("reads text", "is not text") if tokenizer else ("reads no text", "is text")
        raise ValueError(f"model={names[1]} {kinds[0]} but dataset={names[0]} {kinds[1]}; choose two that match")
    with unknown_settings_told("dataset", config["dataset"]):
        return build(config["dataset"], **({"tokenizer": tokenizer} if is_text else {}))


def build_model(config: Mapping[str, Any], dataset: Dataset, tokenizer: Any, adapter: Adapter) -> nn.Module:
    """A fresh model, or one with the weights of the pretraining run, which is trained first if need be; and in it the
    adapter."""
    described = {name: value for name, value in config["model"].items() if name not in ("name", "tokenizer")}
    reading = {} if tokenizer is None else {"tokenizer": tokenizer, "answers": dataset.answers}
    with unknown_settings_told("model", config["model"]):
        model: nn.Module = build(described, classes=dataset.classes, seed=config["seed"], **reading)
    if config["pretraining"]:
        take_pretrained(model, carry_out(pretraining_config(config)))
    adapter.inject(model, config["seed"])
    return model


def take_pretrained(model: nn.Module, outcome: Outcome) -> None:
    """Give `model` the weights that its pretraining ended with. Raises ValueError when they are not to be had."""
    folder, record = outcome.folder, read_run(outcome.folder)
    if outcome.status != "finished" or record is None:
        raise ValueError(f"pretraining ended as {outcome.status} in {folder}; see run.json there")
    require(folder, record, "summary.weights_sha256", "summary.train_seconds")
    again = f"put the file back, or delete {folder} to pretrain again ({record.summary['train_seconds']:.0f} s)"
    checkpoint.take_weights(model, folder / WEIGHTS, record.summary["weights_sha256"], again)


def pretraining_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The run whose weights `config` starts from: a run like any other, shared by all that need it. It trains the model
    itself: an adapter comes afterwards."""
    unlimited = {"_target_": "tightfit.memory.budget.MemoryBudget", "name": "unlimited"}
    return {
        **config,
        **config["pretraining"],
        "experiment": "pretraining",
        "cell": None,
        "memory_budget": unlimited,
        "pretraining": None,
        "adapter": NO_ADAPTER,
    }


@contextmanager
def only_process_in(folder: Path, label: str) -> Generator[None]:
    """Holds the run in `folder`, without what killed processes left there; waits, and says so, while another does.

    A run that has ended may be where nothing can be written. Raises ValueError where one has to be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        if not has_ended(folder):
            raise ValueError(f"{folder} cannot be written ({error.strerror}); choose a place by paths.runs=…") from None
        lock = nullcontext()
    with lock as file:
        if file:
            hold(file, folder, label)
            clear_temporaries(folder, FILES)
            if has_ended(folder):  # its process was killed before it could do so
                (folder / CHECKPOINT).unlink(missing_ok=True)
        yield


def hold(lock: IO[str], folder: Path, label: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(label, f"waits for another process, which has this run in {folder}")
        fcntl.flock(lock, fcntl.LOCK_EX)


def has_ended(folder: Path) -> bool:
    record = read_run(folder)
    return record is not None and record.status in FINAL


def write_end(folder: Path, record: RunRecord) -> None:
    """Write how the run ended, or say why that cannot be written; what was recorded before stays."""
    end_session(record)
    try:
        write_run(folder, record)
    except OSError as error:
        print(f"cannot write {folder}/run.json: {error}; free space and run again to continue", file=sys.stderr)


def record_loss(config: Mapping[str, Any], exit_code: int) -> Outcome:
    """Record the run that `config` describes as failed, since its process died with `exit_code`, minus the signal's
    number; one that had ended, or that another process goes on with, stays as it is."""
    folder = run_folder(config)
    died = f"was killed (signal {-exit_code})" if exit_code < 0 else f"ended with exit status {exit_code}"
    perhaps = ", perhaps for memory" if exit_code == -signal.SIGKILL else ""
    reason = f"its process {died}{perhaps}; run again to continue"
    if is_held(folder):
        return Outcome("failed", folder, reason)
    with only_process_in(folder, describe(config)):
        record = read_run(folder)
        if record is None:
            record = RunRecord(key=folder.name, experiment=config["experiment"], config=dict(config), started_at=now())
        if record.status not in FINAL:
            record.status, record.reason = "failed", reason
            write_end(folder, record)
    return Outcome(record.status, folder, record.reason)


def describe(config: Mapping[str, Any]) -> str:
    """A run in a few words, for progress lines."""
    parts = [config[part]["name"] for part in ("optimizer", "dataset")]
    if config["optimizer"].get("bp_layers") is not None:
        parts[0] += f" bp_layers={config['optimizer']['bp_layers']}"
    if config["memory_budget"]["name"] != "unlimited":
        parts.append(config["memory_budget"]["name"])
    return f"{' · '.join(parts)} · seed {config['seed']}"


def report(label: str, done: float, accuracy: float, seconds: float) -> None:
    left = seconds / done - seconds if done else float("nan")
    remaining = f", {left:.0f} s left" if done else ""
    say(label, f"{done:4.0%} accuracy {accuracy:.2%} after {seconds:.1f} s of training{remaining}")


def say(label: str, text: str) -> None:
    print(f"[{label}] {text}", flush=True)
