"""What a training step costs as a program, beside the framework that exported it: `make bench`.

A short run of P-RGE is made and exported to every format; then each program, and the framework, train on the same
batches in a process of their own, one after another, in several rounds. Memory is the most that a whole process held,
loading included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

from tightfit.device_train import COST, Batches
from tightfit.export import DATA, PROGRAM, prepared
from tightfit.machine import describe_machine, keep_freed_memory
from tightfit.memory.process import ProcessPeak
from tightfit.on_device.formats import SUFFIXES
from tightfit.on_device.manifest import read_manifest
from tightfit.optimizers.base import Batch

STEPS, ROUNDS, THREADS = 5, 3, "1"
FRAMEWORK = "framework"
MODELS = {"llama_tiny": 8, "smollm2_135m": 2}  # and the examples of a batch
LENGTH = 48  # tokens of the longest prompts
RUN = [
    "optimizer=p_rge",
    "optimizer.noise=rademacher",
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
    in_process("tightfit.run", *RUN, *sizes, runs=runs)
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
    keep_freed_memory()
    with ProcessPeak() as peak:
        _, _, run = prepared(folder)
        torch.set_num_threads(int(THREADS))
        run.bind()
        batches, seconds = Batches(program.parent / DATA, read_manifest(program)), []
        for step in range(batches.steps):
            inputs, labels = map(torch.from_numpy, batches.batch(step))
            began = time.perf_counter()
            run.learner.step(Batch(inputs, labels, step, run.epoch(step)))
            seconds.append(time.perf_counter() - began)
    cost = {"median_step_seconds": median(seconds), "process_peak_bytes": peak.bytes}
    (program.parent / COST).write_text(json.dumps(cost))


def measure(model: str, console: Console) -> None:
    """Print the table of one model."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        run = made_run(model, runs)
        programs = {name: runs / name / (PROGRAM + suffix) for name, suffix in SUFFIXES.items()}
        for name, program in programs.items():
            in_process("tightfit.export", f"run={run}", f"format={name}", f"out={program.parent}", runs=runs)
        costs: dict[str, list[dict[str, float]]] = {name: [] for name in (FRAMEWORK, *programs)}
        for _ in range(ROUNDS):
            for name, measured in costs.items():
                program = programs.get(name, programs["torch_export"])
                if name == FRAMEWORK:
                    in_process("tightfit.bench_device", "--framework", str(run), str(program), runs=runs)
                else:
                    in_process("tightfit.device_train", f"program={program}", f"threads={THREADS}", runs=runs)
                measured.append(json.loads((program.parent / COST).read_text()))
        sizes = {name: program.stat().st_size for name, program in programs.items()}
    show(model, costs, sizes, console)


def show(model: str, costs: dict[str, list[dict[str, float]]], sizes: dict[str, int], console: Console) -> None:
    title = f"{model}, {MODELS[model]} × {LENGTH} tokens, 4 directions and both signs at once"
    table = Table("", "s a step", "/ framework", "process, MB", "file, MB", title=title)
    reference = median(cost["median_step_seconds"] for cost in costs[FRAMEWORK])
    for name, measured in costs.items():
        seconds = median(cost["median_step_seconds"] for cost in measured)
        peak = max(cost["process_peak_bytes"] for cost in measured)
        file = f"{sizes[name] / 1e6:.1f}" if name in sizes else ""
        table.add_row(name, f"{seconds:.3f}", f"{seconds / reference:.2f}", f"{peak / 1e6:.0f}", file)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tightfit.bench_device", description=__doc__)
    parser.add_argument("--full", action="store_true", help="SmolLM2 too, which is fetched where it is not cached")
    parser.add_argument("--framework", nargs=2, type=Path, help=argparse.SUPPRESS)  # what a process of its own does
    options = parser.parse_args()
    if options.framework:
        train_in_framework(*options.framework)
        return
    console = Console()
    machine = describe_machine(torch.device("cpu"))
    console.print(f"{machine['cpu']}, {THREADS} thread, torch {machine['torch']}; medians of {ROUNDS} rounds\n")
    for model in MODELS if options.full else list(MODELS)[:1]:
        measure(model, console)


if __name__ == "__main__":
    main()
