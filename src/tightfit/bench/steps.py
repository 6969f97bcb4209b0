"""Ratios that decide whether a method is usable, measured side by side in one run: `make bench OPTIONS=--full`.

Each ratio compares two pieces of work done in turn, so a machine that slows down slows both; the median over
the pairs is shown with the quartiles. Absolute times are for orientation only.
"""

from __future__ import annotations

import statistics
import tempfile
from itertools import count
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from tightfit.bench.pairs import Work, ratio_within, stepping
from tightfit.memory.measured import peak_live_bytes
from tightfit.memory.table import layer_table
from tightfit.models.lenet5 import lenet5
from tightfit.models.lenet5_int8 import lenet5_int8
from tightfit.models.pooling import max_of_slices
from tightfit.optimizers.base import Batch, Learner, Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.elastic_zo_int8 import ElasticZOInt8
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.rules.sgd import SGD
from tightfit.records.machine import describe_machine, keep_freed_memory
from tightfit.records.record import RunRecord, append_eval
from tightfit.run.checkpoint import seal
from tightfit.run.clock import Clock
from tightfit.run.evaluate import cross_entropy
from tightfit.tracking.wandb import WandbTracker

BATCH_SIZE = 32
INT8_BATCH_SIZE = 256
PAIRS, SECONDS = 60, 20.0  # of measurements of a ratio, at most
STEPS_PER_EPOCH = 1875  # 60,000 images in batches of 32


def paired_ratio(work: Work, reference: Work) -> tuple[float, float, float, float]:
    """Lower quartile, median and upper quartile of seconds(work) / seconds(reference), and median seconds of work."""
    ratio = ratio_within(work, reference, SECONDS, PAIRS)
    return ratio.low, ratio.median, ratio.high, ratio.seconds


def stepper(optimizer: Optimizer, batch: Batch) -> tuple[Work, Learner]:
    learner = optimizer.bind(lenet5(10, seed=0), cross_entropy, seed=0)
    return stepping(learner, batch), learner


def forward(batch: Batch) -> Work:
    model = lenet5(10, seed=0)
    return torch.no_grad()(lambda: cross_entropy(model, batch).item())


def measure_all() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    console = Console()
    machine = describe_machine(torch.device("cpu"))
    console.print(f"LeNet-5, batch {BATCH_SIZE}, {machine['cpu']}, 1 thread, torch {machine['torch']}")
    console.print(f"medians of at most {PAIRS} pairs of measurements, each pair taken side by side\n")
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(BATCH_SIZE, 1, 28, 28, generator=generator)
    batch = Batch(inputs, torch.randint(0, 10, (BATCH_SIZE,), generator=generator), 0, 0.0)
    table = Table("what", "ratio", "quartiles", "time")
    for name, ratio in {
        **step_ratios(batch),
        **pooling_ratios(inputs),
        **bookkeeping_ratios(batch),
        **int8_ratios(),
    }.items():
        low, median, high, seconds = ratio
        table.add_row(name, f"{median:.3g}", f"{low:.3g}–{high:.3g}", f"{seconds * 1e6:.0f} µs")
    console.print(table)
    show_phases(console, batch)
    show_peaks(console, batch)


def step_ratios(batch: Batch) -> dict[str, tuple[float, float, float, float]]:
    one_forward = forward(batch)

    def two_forwards() -> None:
        one_forward()
        one_forward()

    zeroth_order, _ = stepper(MeZO(1e-5, 1e-3, clip=1.0), batch)
    by_signs, _ = stepper(MeZO(1e-5, 1e-3, clip=1.0, direction=Independent("rademacher")), batch)
    backprop, _ = stepper(Backprop(1e-5, SGD()), batch)
    hybrid, _ = stepper(ElasticZO(1e-5, 1e-3, bp_lr=1e-5, bp_layers=1), batch)
    return {
        "MeZO step / two forwards": paired_ratio(zeroth_order, two_forwards),
        "MeZO step with directions of signs / two forwards": paired_ratio(by_signs, two_forwards),
        "ElasticZO (1 BP layer) step / two forwards": paired_ratio(hybrid, two_forwards),
        "MeZO step / BP step": paired_ratio(zeroth_order, backprop),
        "BP step / one forward": paired_ratio(backprop, one_forward),
    }


def int8_ratios() -> dict[str, tuple[float, float, float, float]]:
    """The same zeroth-order step in int8 (losses compared in integers) and in FP32."""
    inputs = torch.randn(INT8_BATCH_SIZE, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(INT8_BATCH_SIZE, dtype=torch.int64)
    pixels = inputs.mul(32).clamp(-127, 127).to(torch.int8)
    learner = ElasticZOInt8(15, 0.33, loss_sign="integer").bind(lenet5_int8(10, seed=0), cross_entropy, seed=0)
    fp32, _ = stepper(MeZO(1e-5, 1e-3, clip=1.0), Batch(inputs, labels, 0, 0.0))
    int8 = paired_ratio(stepping(learner, Batch(pixels, labels, 0, 0.0)), fp32)
    return {f"int8 ZO step / FP32 ZO step, batch {INT8_BATCH_SIZE}": int8}


def pooling_ratios(inputs: torch.Tensor) -> dict[str, tuple[float, float, float, float]]:
    images = torch.relu(torch.randn(BATCH_SIZE, 6, 28, 28, generator=torch.Generator().manual_seed(0)))
    tracked = images.clone().requires_grad_()
    return {
        "pooling forward: slices / stock kernel": paired_ratio(
            lambda: max_of_slices(images), lambda: F.max_pool2d(images, 2)
        ),
        "pooling forward + backward: slices / stock kernel": paired_ratio(
            lambda: max_of_slices(tracked).sum().backward(), lambda: F.max_pool2d(tracked, 2).sum().backward()
        ),
    }


def bookkeeping_ratios(batch: Batch) -> dict[str, tuple[float, float, float, float]]:
    """What the clock costs each step, and what an evaluation's record, checkpoint and mirror cost each epoch."""
    step, learner = stepper(MeZO(1e-5, 1e-3), batch)
    clock, folder = Clock(), Path(tempfile.mkdtemp())
    tracker = WandbTracker(mode="offline", finish_seconds=5.0)
    parts = {part: {"name": part} for part in ("dataset", "model", "optimizer", "memory_budget")}
    record = RunRecord(key="bench", experiment="bench", config={**parts, "seed": 0, "profile": "bench"})
    tracker.start(record, folder, resumed_at=None)
    rows = count()

    def keep_time() -> None:
        with clock.training():
            pass

    def keep_books() -> None:
        row = {"step": next(rows), "train_seconds": 6.0, "test_accuracy": 0.9, "test_loss": 0.3}
        append_eval(folder, row)
        tracker.log(row)
        seal(folder / "checkpoint.pt", record.key, {"learner": learner.state_dict()})

    low, median, high, seconds = paired_ratio(keep_books, step)
    tracker.finish(record)
    return {
        "clock of a step / the step": paired_ratio(keep_time, step),
        f"record, W&B row and checkpoint / {STEPS_PER_EPOCH:,} steps": (
            low / STEPS_PER_EPOCH,
            median / STEPS_PER_EPOCH,
            high / STEPS_PER_EPOCH,
            seconds,
        ),
    }


def show_phases(console: Console, batch: Batch) -> None:
    for name, optimizer in {
        "MeZO": MeZO(1e-5, 1e-3),
        "ElasticZO": ElasticZO(1e-5, 1e-3, bp_lr=1e-5, bp_layers=1),
        "BP": Backprop(1e-5, SGD()),
    }.items():
        parts = median_phases(*stepper(optimizer, batch))
        console.print(f"{name} step: {', '.join(f'{phase} {part * 1e6:.0f} µs' for phase, part in parts.items())}")


def median_phases(step: Work, learner: Learner) -> dict[str, float]:
    """Seconds of each phase in the median step, after a first one, which makes what later steps find made."""
    step()
    steps = []
    for _ in range(PAIRS):
        learner.phases.seconds.clear()
        step()
        steps.append(dict(learner.phases.seconds))
    return {phase: statistics.median(seconds[phase] for seconds in steps) for phase in steps[0]}


def show_peaks(console: Console, batch: Batch) -> None:
    known = (batch.inputs, batch.labels)
    model = lenet5(10, seed=0)
    inference = peak_live_bytes(torch.no_grad()(lambda: cross_entropy(model, batch)), list(model.parameters()), known)
    step, learner = stepper(MeZO(1e-5, 1e-3), batch)
    peak = peak_live_bytes(step, list(learner.resting_model().parameters()), known)
    console.print(f"measured peak of a MeZO step / inference: {peak / inference:.3f} ({peak:,} / {inference:,} bytes)")
    fp32, int8 = (layer_table(model, (1, 28, 28)) for model in (lenet5(10, seed=0), lenet5_int8(10, seed=0)))
    for size in (BATCH_SIZE, INT8_BATCH_SIZE):
        ratio = MeZO(1e-5, 1e-3).memory(fp32, size).total / ElasticZOInt8(15, 0.33).memory(int8, size).total
        console.print(f"analytic memory of FP32 ZO / int8 ZO, batch {size}: {ratio:.2f}")
