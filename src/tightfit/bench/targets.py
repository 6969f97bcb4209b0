"""What a step may cost on this machine, and what it does: `make bench`, in less than ten minutes on any machine.

Each row compares two pieces of work done in turn. What is aimed at depends on what the processor can do, so a row is
recorded with that. A row has a bound of seconds: a slow machine takes fewer pairs and says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from tightfit.bench import language
from tightfit.bench.evidence import evidence
from tightfit.bench.pairs import Ratio, Work, ratio_within, stepping
from tightfit.memory.measured import peak_live_bytes
from tightfit.models.adapters.lora import LoRA
from tightfit.models.hf_causal_lm import random_causal_lm
from tightfit.models.hf_tokenizer import HashedWords
from tightfit.models.lenet5 import lenet5
from tightfit.models.lenet5_int8 import lenet5_int8
from tightfit.numerics.speed import told_of_int8
from tightfit.optimizers.base import Batch, Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.elastic_zo_int8 import ElasticZOInt8
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.rules.sgd import SGD
from tightfit.records.machine import describe_hardware, describe_machine, keep_freed_memory
from tightfit.records.record import append_csv
from tightfit.run.configuration import cores_for
from tightfit.run.evaluate import cross_entropy

SECONDS = 35.0  # of a row's pairs
ALL_SECONDS = 480.0  # after which no row begins
SIGNS = Independent("rademacher")
LENGTH = 64  # tokens of a sequence
IMAGES, MANY_IMAGES = 32, 256
BARE_SWEEPS = 2  # over the weights in a step that does the move back on the way to the next probe


@dataclass(frozen=True)
class Pair:
    """held: the most bytes alive in the work, over those in the reference, where that is compared too."""

    work: Work
    reference: Work
    held: float | None = None


@dataclass(frozen=True)
class Row:
    """target: the most that the ratio is to be, if anything was aimed at; 0 for a bound, which no step can beat."""

    name: str
    target: float | None
    make: Callable[[], Pair]
    threads: int = 1


@dataclass(frozen=True)
class Measured:
    row: Row
    ratio: Ratio
    held: float | None


def rows() -> list[Row]:
    """What is measured here. The target of integers is that of this processor's instructions."""
    cores = cores_for(1)
    of_integers = 0.60 if told_of_int8() else 1.05
    default, signs = MeZO(1e-5, 1e-3), MeZO(1e-5, 1e-3, direction=SIGNS)
    lenet5_steps = f"LeNet-5, batch {IMAGES}:"
    steps = [
        Row(f"int8 ZO step / FP32 ZO step, batch {MANY_IMAGES}", of_integers, integers_beside_floats),
        Row(f"{lenet5_steps} default step / two forwards", 1.30, partial(image_step, default)),
        Row(f"{lenet5_steps} signs / two forwards", 1.12, partial(image_step, signs)),
    ]
    for sequences, of_default, of_signs in ((1, None, 1.25), (4, 1.20, 1.08)):
        name = f"135M, {sequences * LENGTH} tokens:"
        steps += [
            Row(f"{name} forwards and bare sweeps / two forwards", 0.0, partial(bound, sequences), cores),
            Row(f"{name} default step / two forwards", of_default, partial(text_step, sequences), cores),
            Row(f"{name} signs / two forwards", of_signs, partial(text_step, sequences, direction=SIGNS), cores),
        ]
    name = "135M, 256 tokens, frozen bfloat16 computed in float32 / float32:"
    return [
        *steps,
        Row(f"{name} ZO step of LoRA", 1.4, partial(frozen_step, default), cores),
        Row(f"{name} BP step of LoRA", 1.4, partial(frozen_step, Backprop(1e-5, SGD())), cores),
    ]


def images(size: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (size,), generator=generator)
    return Batch(torch.randn(size, 1, 28, 28, generator=generator), labels, 0, 0.0)


def integers_beside_floats() -> Pair:
    """Losses of the one compared in integers."""
    batch = images(MANY_IMAGES)
    pixels = Batch(batch.inputs.mul(32).clamp(-127, 127).to(torch.int8), batch.labels, 0, 0.0)
    integers = ElasticZOInt8(15, 0.33, loss_sign="integer")
    return Pair(
        stepping(integers.bind(lenet5_int8(10, seed=0), cross_entropy, seed=0), pixels),
        stepping(MeZO(1e-5, 1e-3, clip=1.0).bind(lenet5(10, seed=0), cross_entropy, seed=0), batch),
    )


def image_step(optimizer: Optimizer) -> Pair:
    batch, model = images(IMAGES), lenet5(10, seed=0)
    forwards = torch.no_grad()(lambda: [cross_entropy(model, batch).item() for _ in range(2)])
    return Pair(stepping(optimizer.bind(lenet5(10, seed=0), cross_entropy, seed=0), batch), forwards)


def tokens(sequences: int) -> Batch:
    drawn = torch.randint(1, language.VOCABULARY, (sequences, LENGTH), generator=torch.Generator().manual_seed(0))
    return Batch(drawn, drawn[:, 0] % 2, 0, 0.0)


def text_step(sequences: int, **options: Any) -> Pair:
    model, batch = language.llama(language.SHAPES["135M"], torch.float32), tokens(sequences)
    step = stepping(MeZO(language.LR, language.EPS, **options).bind(model, language.loss, seed=0), batch)
    return Pair(step, language.two_forwards(model, batch))


def bound(sequences: int) -> Pair:
    """What no perturbation in place can beat."""
    model = language.llama(language.SHAPES["135M"], torch.float32)
    forwards = language.two_forwards(model, tokens(sequences))
    return Pair(language.with_sweeps(forwards, model, BARE_SWEEPS), forwards)


def frozen_step(optimizer: Optimizer) -> Pair:
    """The same step of low-rank updates on frozen weights of 16 bits, and of 32."""
    batch = tokens(256 // LENGTH)
    narrow, whole = frozen("bfloat16"), frozen("float32")
    works = [stepping(optimizer.bind(model, cross_entropy, seed=0), batch) for model in (narrow, whole)]
    known = (batch.inputs, batch.labels)
    of_narrow, of_whole = (
        peak_live_bytes(work, list(model.parameters()), known)
        for work, model in zip(works, (narrow, whole), strict=True)
    )
    return Pair(works[0], works[1], of_narrow / of_whole)


def frozen(dtype: str) -> nn.Module:
    settings = language.settings_of(language.SHAPES["135M"])
    reader = HashedWords(language.VOCABULARY)
    options: dict[str, Any] = {"dtype": dtype, "compute": "float32"}
    model = random_causal_lm("llama", settings, reader, answers=(1, 2), classes=2, seed=0, **options)
    LoRA().inject(model, seed=0)
    return model


def measure(chosen: Sequence[Row], console: Console) -> Iterator[Measured]:
    """Every row, told as it is measured. One that cannot be had here is left out, with the reason, and so are those
    that would begin too late."""
    began = time.perf_counter()
    for row in chosen:
        over = time.perf_counter() - began
        if over > ALL_SECONDS:
            told(console, f"{row.name}: left out, for {ALL_SECONDS:.0f} seconds are over")
            continue
        torch.set_num_threads(row.threads)
        try:
            pair = row.make()
        except ValueError as error:
            told(console, f"{row.name}: left out ({error})")
            continue
        measured = Measured(row, ratio_within(pair.work, pair.reference, SECONDS), pair.held)
        told(console, f"{over:4.0f} s  {row.name}: {measured.ratio.median:.3f}{cut(measured.ratio)}")
        yield measured


def told(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def cut(ratio: Ratio) -> str:
    return f" (cut at {ratio.pairs} pairs)" if ratio.is_cut else ""


def table_of(measured: Sequence[Measured], title: str) -> Table:
    table = Table("what", "ratio", "quartiles", "at most", "", "seconds", "pairs", "bytes", title=title)
    for each in measured:
        ratio, target = each.ratio, each.row.target
        met = "met" if target and ratio.median <= target else "missed"
        table.add_row(
            each.row.name,
            f"{ratio.median:.3f}",
            f"{ratio.low:.3f}–{ratio.high:.3f}",
            *((f"{target:.2f}", met) if target else ("bound" if target == 0 else "", "")),
            f"{ratio.seconds:.4f}",
            f"{ratio.pairs}{' (cut)' if ratio.is_cut else ''}",
            "" if each.held is None else f"{each.held:.2f}",
        )
    return table


def record(measured: Sequence[Measured], path: Path) -> None:
    """Append a line for each row to the CSV file at `path`, with the machine that it holds for.

    Raises ValueError when the file has other columns.
    """
    now = evidence()
    append_csv(path, [{**line(each), **now, "threads": each.row.threads} for each in measured], "a row of the bench")


def line(each: Measured) -> dict[str, Any]:
    ratio = each.ratio
    return {
        "row": each.row.name,
        "target": each.row.target or "",
        "ratio": round(ratio.median, 5),
        "ratio_low": round(ratio.low, 5),
        "ratio_high": round(ratio.high, 5),
        "seconds": round(ratio.seconds, 6),
        "reference_seconds": round(ratio.reference_seconds, 6),
        "pairs": ratio.pairs,
        "bytes_ratio": "" if each.held is None else round(each.held, 4),
    }


def prepared() -> tuple[Console, str]:
    """This process, ready to measure: where rows are shown, and the machine they are of, in words."""
    keep_freed_memory()
    console = Console()
    console = console if console.is_terminal else Console(width=160)
    machine, hardware = describe_machine(torch.device("cpu")), describe_hardware(torch.device("cpu"))
    title = f"{machine['cpu']}, {hardware['capability']}, torch {machine['torch']}, load {os.getloadavg()[0]:.1f}"
    return console, title


def measure_all(csv: str | None = None) -> None:
    """Show every row beside its target, and append them to the file `csv`."""
    console, title = prepared()
    told(console, f"{title}; at most {SECONDS:.0f} seconds a row")
    measured = list(measure(rows(), console))
    console.print(table_of(measured, title))
    if csv and measured:
        record(measured, Path(csv))
