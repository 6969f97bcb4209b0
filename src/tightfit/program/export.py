"""Write a run's training as a program for a device: `tightfit export run=0123456789ab format=executorch`."""

from __future__ import annotations

import copy
import os
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from tightfit.commands import DONE, carry_out
from tightfit.commands.verbs import EXPORT
from tightfit.commands.words import Said, WrongWords
from tightfit.datasets.batches import encoding_for
from tightfit.optimizers.base import Batch
from tightfit.optimizers.p_rge import PRGE
from tightfit.optimizers.schedules import value_at
from tightfit.program.check import STEPS, Reference, check, first_steps
from tightfit.program.formats import SUFFIXES, writer_for
from tightfit.program.manifest import Manifest, file_digest
from tightfit.program.program import TrainingStep, check_noise_of_device
from tightfit.program.runtimes import ARGUMENTS, check_format
from tightfit.records.record import RunRecord, read_run, require
from tightfit.run.course import Course
from tightfit.run.faults import EXPECTED
from tightfit.run.folders import folder_of
from tightfit.run.parts import build_optimizer
from tightfit.run.replay import PARTS, write_safetensors
from tightfit.run.session import build_task
from tightfit.run.trust import check_code
from tightfit.use.packing import FORMATS, write_model
from tightfit.use.trained import load

PROGRAM, DATA = "program", "data.safetensors"


def export(folder: Path, format_name: str, target: Path) -> Path:
    """Write the training of the run in `folder` to the folder `target`; returns the program.

    Raises ValueError when the run cannot be a program, and when the program does not compute what the run does.
    """
    check_format(format_name)
    record, optimizer, course = prepared(folder)
    write = writer_for(format_name)  # imports the exporter, which takes long: after all that may be refused
    data = data_of(course, optimizer, record.summary.get("steps", course.steps))
    batches = [batch_of(data, course, step) for step in range(min(STEPS, len(data["order"])))]
    reference = first_steps(optimizer, course.task.model, course.task.seed, batches)
    step = TrainingStep(course.task.model, course.task.seed, optimizer.direction.noise, optimizer.queries)
    manifest = manifest_of(format_name, course, optimizer, data, reference, step)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".unchecked.") as unchecked:
        written = Path(unchecked) / manifest.program
        write(step, step.example(batches[0].inputs, batches[0].labels), written)
        manifest = replace(manifest, check=check(written, manifest, reference), sha256=file_digest(written))
        os.replace(written, target / manifest.program)
    write_safetensors(target / DATA, data)
    manifest.write(target / manifest.program)
    return target / manifest.program


def manifest_of(
    format_name: str,
    course: Course,
    optimizer: PRGE,
    data: dict[str, torch.Tensor],
    reference: Reference,
    step: TrainingStep,
) -> Manifest:
    """How to call the program of `step`, which was not checked yet."""
    return Manifest(
        format=format_name,
        program=PROGRAM + SUFFIXES[format_name],
        data=DATA,
        run=course.record.key,
        seed=course.task.seed,
        noise=optimizer.direction.noise,
        batch_size=course.batches.batch_size,
        example_shape=list(data["inputs"].shape[1:]),
        queries=optimizer.queries,
        adapters={name: list(B.shape) for name, B in reference.adapters.items()},
        starts=step.starts,
        steps=len(data["order"]),
        arguments={
            name: str(value.dtype).removeprefix("torch.")
            for name, value in zip(ARGUMENTS, step.example(data["inputs"], data["labels"]), strict=True)
        },
    )


def prepared(folder: Path) -> tuple[RunRecord, PRGE, Course]:
    """The run in `folder` as it began. Raises ValueError when there is none, or one that no device could do."""
    record = read_run(folder)
    if record is None or "batch_size" not in record.memory:
        raise WrongWords(f"{folder} holds no run that began; name the folder or the key of one, as in runs/scratch/…")
    require(folder, record, *(f"config.{part}" for part in PARTS))
    optimizer = build_optimizer(record.config)
    if not isinstance(optimizer, PRGE):
        raise WrongWords(
            f"optimizer={record.config['optimizer']['name']} is nothing a program does; export a run of optimizer=p_rge"
        )
    check_noise_of_device(optimizer.direction.noise)
    task = build_task(record.config, copy.deepcopy(record))
    return record, optimizer, Course(task, record, folder, record.memory["batch_size"])


def data_of(course: Course, optimizer: PRGE, steps: int) -> dict[str, torch.Tensor]:
    """The examples as the model takes them, which of them each step takes, and with what rates.

    inputs (n, …); labels (n,) int64; order (steps, b) int32; lr, eps, clip (steps,) float64
    """
    examples = course.task.dataset.train
    rates = {
        name: torch.tensor([value_at(getattr(optimizer, name), course.epoch(step)) for step in range(steps)]).double()
        for name in ("lr", "eps", "clip")
    }
    order = torch.stack([course.batches.chosen(step) for step in range(steps)]).int()
    encode = encoding_for(course.task.model, course.task.dataset)
    return {"inputs": encode(examples.inputs), "labels": examples.labels, "order": order, **rates}


def batch_of(data: dict[str, torch.Tensor], course: Course, step: int) -> Batch:
    """The examples of a step, all of the same width."""
    chosen = data["order"][step]
    return Batch(data["inputs"][chosen], data["labels"][chosen], step, course.epoch(step))


def main(words: Sequence[str]) -> int:
    return carry_out(EXPORT, words, write_program, EXPECTED)


def write_program(said: Said) -> int:
    """Export the run that was said, and say where its program is; the exit code."""
    warnings.filterwarnings("ignore")  # of the exporters, about themselves
    settings = said.settings
    folder = folder_of(settings["run"])
    check_code(folder, settings["trust"])
    if settings["format"] in FORMATS:
        target = Path(settings["out"] or folder / settings["format"])
        write_model(load(folder), settings["format"], target)
        print(f"{target}: load it by {FORMATS[settings['format']]}")
        return DONE
    target = Path(settings["out"] or folder / "on_device" / settings["format"])
    program = export(folder, settings["format"], target)
    print(f"{program}: {program.stat().st_size / 1e6:.1f} MB, its first steps are those of the run")
    print(f"train it: tightfit train-program program={program}")
    return DONE
