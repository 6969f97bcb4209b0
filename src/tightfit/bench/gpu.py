"""What works on this machine's GPU, and how fast: `make gpu-check`, in at most five minutes.

Runs every test that needs a GPU and measures what only a GPU can tell, each number beside its bound; prints a table
and writes one file of results. What there is no time or memory left for is named as left out. Exit status: 0 where all
is within its bounds, 1 where not, 2 where there is no GPU to check.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from tightfit.bench.language import SHAPES, Shape, settings_of
from tightfit.bench.pairs import stepping
from tightfit.datasets.dataset import Dataset, Examples
from tightfit.memory.budget import MemoryBudget
from tightfit.memory.enforcement import Limit
from tightfit.models.hf_causal_lm import random_causal_lm
from tightfit.models.hf_tokenizer import HashedWords
from tightfit.models.lenet5 import lenet5
from tightfit.models.lenet5_int8 import lenet5_int8
from tightfit.optimizers.base import Batch, Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.captured import captured
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.elastic_zo_int8 import ElasticZOInt8
from tightfit.optimizers.graphs import Graphs
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.niti_bp import NITIBP
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.sgd import SGD
from tightfit.records.machine import commit, describe_machine
from tightfit.records.record import RunRecord
from tightfit.run.checkpoint import weights_digest
from tightfit.run.evaluate import cross_entropy
from tightfit.run.loop import Run
from tightfit.run.measurement import training_peak
from tightfit.run.rehearsal import peak_live
from tightfit.run.stack import Stack
from tightfit.run.task import Task, Training
from tightfit.tracking.local import LocalOnly

SECONDS, SECONDS_OF_TESTS = 280, 150
REPEATS, INNER = 7, 3  # measurements, and steps in one
LR, EPS = 1e-9, 1e-3


@dataclass(frozen=True)
class Row:
    """One number and its bound, which it is to be at most; without a value the note says why."""

    check: str
    value: float | None
    unit: str
    bound: float | None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.value is None:
            return self.note
        return "ok" if self.bound is None or self.value <= self.bound else "above its bound"


@dataclass(frozen=True)
class Workload:
    """Steps of a Llama of random weights. bytes_needed: of the device's memory, so that it is tried."""

    name: str
    settings: dict[str, Any]
    dtype: str
    sequences: int
    length: int
    bytes_needed: float

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {self.sequences} × {self.length}"


SMALL, LARGE = settings_of(SHAPES["135M"]), settings_of(Shape(2048, 22, 32, 4, 5632))
WORKLOADS = [
    Workload("135M", SMALL, "float32", 8, 64, 4e9),
    Workload("135M", SMALL, "bfloat16", 8, 64, 4e9),
    Workload("1.1B", LARGE, "bfloat16", 16, 512, 16e9),
]
STACKED = 64
Rows = Iterator[Row]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tightfit.bench.gpu", description=__doc__)
    parser.add_argument("--file", type=Path, default=Path("gpu-check.json"), help="default: gpu-check.json")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("gpu-check: PyTorch finds no CUDA device on this machine, so nothing was checked", file=sys.stderr)
        sys.exit(2)
    device = torch.device("cuda", torch.cuda.current_device())
    torch.backends.cudnn.allow_tf32 = False  # as in runs
    parts: dict[str, Callable[[], Rows]] = {
        "tests that need a GPU": tests,
        f"{STACKED} stacked LeNet-5": lambda: stacked(device, STACKED),
        "int8": lambda: integers(device),
        **{str(workload): lambda w=workload: steps(w, device) for workload in WORKLOADS},
        "memory": lambda: predictions(WORKLOADS[0], device),
    }
    rows = checked(parts, time.monotonic() + SECONDS)
    show(rows)
    write(rows, device, options.file)
    sys.exit(0 if all(row.verdict == "ok" for row in rows) else 1)


def checked(parts: dict[str, Callable[[], Rows]], deadline: float) -> list[Row]:
    """The rows of all `parts`; one that fails says so and the others go on."""
    rows: list[Row] = []
    for name, part in parts.items():
        if time.monotonic() > deadline:
            rows.append(Row(name, None, "", None, "left out: no time"))
            continue
        try:
            rows += part()
        except Exception as error:  # whatever a device has to say
            rows.append(
                Row(name, None, "", None, f"failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
            )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return rows


def show(rows: Sequence[Row]) -> None:
    table = Table("what", "measured", "at most", "verdict")
    for row in rows:
        value = "" if row.value is None else f"{row.value:.4g} {row.unit}"
        table.add_row(row.check, value, "" if row.bound is None else f"{row.bound:g}", row.verdict)
    Console().print(table)


def write(rows: Sequence[Row], device: torch.device, path: Path) -> None:
    head, dirty = commit()
    evidence = {"commit": head, "dirty": dirty, "machine": describe_machine(device)}
    told = {**evidence, "rows": [{**asdict(row), "verdict": row.verdict} for row in rows]}
    path.write_text(json.dumps(told, indent=1) + "\n")
    print(f"written to {path}")


def tests() -> Rows:
    """Those marked `cuda`, from the checkout that the command is given in."""
    files = [str(path) for path in Path("tests").rglob("test_*.py") if "mark.cuda" in path.read_text()]
    if not files:
        yield Row("tests that need a GPU", None, "", None, "left out: there is no tests/ here")
        return
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "--tb=line", "-n", "4", *files]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_OF_TESTS, check=False)
    except subprocess.TimeoutExpired:
        yield Row("tests that need a GPU", None, "", None, f"failed: not over after {SECONDS_OF_TESTS} s")
        return
    passed = sum(map(int, re.findall(r"(\d+) passed", done.stdout)))
    unlucky = re.findall(r"^(?:FAILED|ERROR) (.+)$", done.stdout, re.MULTILINE)
    if not passed and not unlucky:
        yield Row("tests that need a GPU", None, "", None, f"failed: {(done.stdout + done.stderr)[-300:]}")
        return
    yield Row(f"tests that need a GPU, of {passed + len(unlucky)}", len(unlucky), "failed", 0, "; ".join(unlucky))


def steps(workload: Workload, device: torch.device) -> Rows:
    """Captured steps over two captured forward passes of the same batch."""
    if device.type == "cuda" and torch.cuda.mem_get_info(device)[1] < workload.bytes_needed:
        yield Row(str(workload), None, "", None, "left out: too little memory")
        return
    model, batch = prepared(workload, device)

    @torch.no_grad()
    def two_forwards(inputs: torch.Tensor, labels: torch.Tensor) -> None:
        for _ in range(2):
            cross_entropy(model, replace(batch, inputs=inputs, labels=labels))

    forwards = Graphs(two_forwards, nullcontext)
    reference = seconds_of(lambda: forwards(batch.inputs, batch.labels), device)
    yield Row(f"{workload}: two captured forwards", reference * 1e3, "ms", None)
    for noise, bound in (("rademacher", 1.06), ("gaussian", 1.15)):
        optimizer = MeZO(LR, EPS, clip=10.0, direction=Independent(noise))
        learner, told = captured(optimizer.bind(model, cross_entropy, 0), "always", device)
        seconds = seconds_of(stepping(learner, batch), device)
        name = f"{workload}: captured step, {noise} / two forwards"
        yield Row(name, None if "reason" in told else seconds / reference, "", bound, told.get("reason", ""))
        learner.resting_model()


def prepared(workload: Workload, device: torch.device) -> tuple[nn.Module, Batch]:
    with torch.device(device):
        model = random_causal_lm(
            "llama", workload.settings, HashedWords(64), (7, 3), classes=2, seed=0, dtype=workload.dtype
        ).to(device)
    tokens = torch.randint(1, workload.settings["vocab_size"], (workload.sequences, workload.length), device=device)
    return model, Batch(tokens, tokens[:, 0] % 2, 0, 0.0)


def seconds_of(work: Callable[[], object], device: torch.device, inner: int = INNER) -> float:
    """The median seconds of `work`, after two calls of it, by the clock of the device."""
    wait: Callable[[], object] = (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else lambda: None
    work(), work()
    times = []
    for _ in range(REPEATS):
        wait()
        start = time.perf_counter()
        for _ in range(inner):
            work()
        wait()
        times.append((time.perf_counter() - start) / inner)
    return statistics.median(times)


def stacked(device: torch.device, runs: int) -> Rows:
    """Steps of runs trained as one, with the choice of their data."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (6000, 1, 28, 28), generator=generator, dtype=torch.uint8)
    examples = Examples(pixels, torch.randint(0, 10, (6000,), generator=generator)).to(device)
    data = Dataset("noise", 10, examples, examples[:500], "test", 0.5, 0.5, "made", {})
    training, budget = Training(epochs=100), MemoryBudget("unlimited")
    optimizer = MeZO(1e-4, EPS, clip=1.0)
    with tempfile.TemporaryDirectory() as folder:
        made = [
            Run(
                Task(optimizer, lenet5(10, seed), data, budget, training, seed, device),
                RunRecord(key=str(seed), experiment="gpu-check", config={}),
                Path(folder) / str(seed),
                LocalOnly(),
                lambda *_: None,
                batch_size=32,
            )
            for seed in range(runs)
        ]
        stack = Stack(made)
        seconds = seconds_of(stack.train_one_step, device, inner=20)
    yield Row(f"{runs} stacked LeNet-5, batch 32: a step and run", seconds / runs * 1e6, "µs", 30)


def integers(device: torch.device) -> Rows:
    """Three steps of each integer method; the weights are those that the CPU has, bit for bit."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(-127, 128, (256, 1, 28, 28), generator=generator, dtype=torch.int8)
    batch = Batch(pixels, torch.randint(0, 10, (256,), generator=generator), 0, 0.0)
    on_device = replace(batch, inputs=batch.inputs.to(device), labels=batch.labels.to(device))
    methods: dict[str, Optimizer] = {
        "zo_int8": ElasticZOInt8(15, 0.33, loss_sign="integer"),
        "elastic_zo_int8": ElasticZOInt8(15, 0.33, bp_layers=1, loss_sign="integer"),
        "niti_bp": NITIBP(5),
    }
    for name, optimizer in methods.items():
        digests = set()
        for place, given in ((torch.device("cpu"), batch), (device, on_device)):
            learner = optimizer.bind(lenet5_int8(10, 0).to(place), cross_entropy, 0)
            for step in range(3):
                learner.step(replace(given, step=step))
            digests.add(weights_digest(learner.resting_model()))
        yield Row(f"{name}: other bits than the CPU's", len(digests) - 1, "", 0)
        yield Row(f"{name}: a step at batch 256", seconds_of(stepping(learner, on_device), device) * 1e3, "ms", None)


def predictions(workload: Workload, device: torch.device) -> Rows:
    """What is predicted without data, over what the allocator gave out: how far from 1."""
    model, batch = prepared(workload, device)
    methods: dict[str, Optimizer] = {
        "mezo": MeZO(LR, EPS),
        "bp_sgd": Backprop(LR, SGD()),
        "bp_adam": Backprop(LR, Adam()),
    }
    for name, optimizer in methods.items():
        predicted = peak_live(optimizer, copy.deepcopy(model), batch, cross_entropy, device)
        limit = Limit(MemoryBudget("unlimited"), device)
        measured = training_peak(optimizer, model, batch, 0, limit).tensors.bytes
        note = f"predicted {predicted:,}, allocated {measured:,} bytes"
        yield Row(f"{workload}, {name}: prediction off by", abs(predicted / measured - 1) * 100, "%", 3, note)


if __name__ == "__main__":
    main()
