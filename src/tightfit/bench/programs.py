"""What a training step costs as a program, beside the framework that exported it: `make bench OPTIONS=--full`.

A short run of P-RGE is made and exported to every format; then each program, and the framework, train on the same
batches in a process of their own, one after another, in several rounds. Ratios are those of processor time, so that
others on the core do not count. Memory is the most that a whole process held, with loading and while it trained.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from tightfit.bench.evidence import append
from tightfit.bench.language import Workload, recorded
from tightfit.commands.words import WrongWords
from tightfit.memory.process import ProcessPeak
from tightfit.optimizers.base import Batch
from tightfit.program.export import DATA, PROGRAM, prepared
from tightfit.program.formats import SUFFIXES
from tightfit.program.manifest import read_manifest
from tightfit.program.train import COST, Batches, Stopwatch, peaks
from tightfit.records.machine import describe_machine, keep_freed_memory

STEPS, THREADS, QUERIES, ROUNDS = 5, "1", 4, 3
FRAMEWORK = "framework"
MODELS = {"llama_tiny": 8, "smollm2_135m": 2}  # and the examples of a batch
WIDTH = 120  # characters, where the output is not a terminal
LENGTH = 48  # tokens of the longest prompts
RUN = [
    "optimizer=p_rge",
    "optimizer/direction=rademacher",
    f"optimizer.queries={QUERIES}",
    "dataset=vader",
    f"dataset.sequence_length={LENGTH}",
    "dataset.train_limit=64",
    "dataset.test_limit=4",
    "training.evaluations=1",
    f"threads={THREADS}",
    "tracker=local",
]


def made_run(model: str, runs: Path) -> Path:
    """The folder of a run of a few steps."""
    batch_size = MODELS[model]
    epochs = STEPS * batch_size / 64
    sizes = [f"model={model}", f"training.batch_size={batch_size}", f"training.epochs={epochs}"]
    in_process("tightfit", "run", *RUN, *sizes, runs=runs)
    (record,) = runs.rglob("run.json")
    return record.parent


def in_process(module: str, *arguments: str, runs: Path) -> None:
    """A command of the project in a process of its own; its errors are shown and end the bench."""
    environment = {**os.environ, "TIGHTFIT_RUNS": str(runs), "OMP_NUM_THREADS": THREADS}
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"{' '.join(command)}\n{ended.stderr}")


def train_in_framework(folder: Path, program: Path) -> None:
    """Train the run in `folder` on the batches of `program` and write beside it what that cost."""
    with ProcessPeak() as opening:
        _, _, run = prepared(folder)
        torch.set_num_threads(int(THREADS))
        run.bind()
    keep_freed_memory()  # of steps, not of loading
    with ProcessPeak() as training:
        batches, watch = Batches(program.parent / DATA, read_manifest(program)), Stopwatch()
        for step in range(batches.steps):
            inputs, labels = map(torch.from_numpy, batches.batch(step))
            with watch:
                run.learner.step(Batch(inputs, labels, step, run.epoch(step)))
    cost = {**watch.medians(), **peaks(opening, training)}
    (program.parent / COST).write_text(json.dumps(cost))


def measure(model: str, rounds: int) -> list[dict[str, Any]]:
    """A row for the framework and for each program."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        run = made_run(model, runs)
        programs = {name: runs / name / (PROGRAM + suffix) for name, suffix in SUFFIXES.items()}
        made: dict[str, dict[str, Any]] = {name: exported(run, name, programs[name], runs) for name in programs}
        costs: dict[str, list[dict[str, float]]] = {name: [] for name in (FRAMEWORK, *programs)}
        for _ in range(rounds):
            for name, measured in costs.items():
                program = programs.get(name, programs["torch_export"])
                if name == FRAMEWORK:
                    in_process("tightfit.bench.programs", str(run), str(program), runs=runs)
                else:
                    in_process("tightfit", "train-program", f"program={program}", f"threads={THREADS}", runs=runs)
                measured.append(json.loads((program.parent / COST).read_text()))
    return [row(name, measured, costs[FRAMEWORK], made.get(name, {})) for name, measured in costs.items()]


def exported(run: Path, name: str, program: Path, runs: Path) -> dict[str, Any]:
    """What writing a program, and checking it, took."""
    began = cpu_seconds_of_children()
    in_process("tightfit", "export", f"run={run}", f"format={name}", f"out={program.parent}", runs=runs)
    return {"export_cpu_seconds": cpu_seconds_of_children() - began, "file_bytes": program.stat().st_size}


def cpu_seconds_of_children() -> float:
    """What the processes that were begun here and have ended took."""
    times = os.times()
    return times.children_user + times.children_system


def row(
    name: str, costs: list[dict[str, float]], reference: list[dict[str, float]], made: dict[str, Any]
) -> dict[str, Any]:
    seconds, cpu_seconds = (median_of(costs, f"median_step_{of}") for of in ("seconds", "cpu_seconds"))
    return {
        "program": name,
        "queries": QUERIES,
        "step_seconds": seconds,
        "step_cpu_seconds": cpu_seconds,
        "ratio": cpu_seconds / median_of(reference, "median_step_cpu_seconds"),
        **{key: max(int(cost[key]) for cost in costs) for key in ("process_peak_bytes", "training_peak_bytes")},
        "file_bytes": made.get("file_bytes", ""),
        "export_cpu_seconds": made.get("export_cpu_seconds", ""),
        "rounds": len(costs),
    }


def median_of(costs: list[dict[str, float]], key: str) -> float:
    return median(cost[key] for cost in costs)


def show(workload: Workload, rows: list[dict[str, Any]], console: Console) -> None:
    title = f"{workload}, {QUERIES} directions and both signs at once"
    columns = ("s a step", "of processor", "/ framework", "process, MB", "in training", "file, MB", "s to export")
    table = Table("", *columns, title=title)
    for each in rows:
        sizes = (f"{each[key] / 1e6:.0f}" for key in ("process_peak_bytes", "training_peak_bytes"))
        made = (
            (f"{each['file_bytes'] / 1e6:.1f}", f"{each['export_cpu_seconds']:.0f}") if each["file_bytes"] else ("", "")
        )
        times = (f"{each['step_seconds']:.3f}", f"{each['step_cpu_seconds']:.3f}", f"{each['ratio']:.2f}")
        table.add_row(each["program"], *times, *sizes, *made)
    console.print(table)


def measure_all(full: bool, only: str, rounds: int | None, csv: str | None) -> None:
    """Show, and append to the file `csv`, what programs of the models whose name has `only` cost; one unless `full`."""
    rounds = rounds or ROUNDS
    models = [model for model in MODELS if only in model] if full or only else list(MODELS)[:1]
    if not models:
        raise WrongWords(f"only={only} is in no model's name; choose a part of one of: {', '.join(MODELS)}")
    torch.set_num_threads(int(THREADS))
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    machine = describe_machine(torch.device("cpu"))
    console.print(f"{machine['cpu']}, {THREADS} thread, torch {machine['torch']}; medians of {rounds} rounds\n")
    for model in models:
        workload, rows = Workload(model, MODELS[model], LENGTH), measure(model, rounds)
        show(workload, rows, console)
        append(csv, recorded(workload, rows))


if __name__ == "__main__":  # a process of its own for the framework, as each program has one
    train_in_framework(*map(Path, sys.argv[1:]))
