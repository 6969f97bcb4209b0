"""What a zeroth-order step of a language model costs beside its two forward passes: `make bench OPTIONS=--full`.

Random weights in the shape of Llama; one loss at the last position. Each step is timed in turn with the two forwards
it contains, so a machine that slows down slows both; medians of the ratios, with quartiles. The bound is what no
perturbation in place can beat: two forwards, and three times reading and writing the weights. Beside it stands the
most that a step holds at once, over what inference does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F

from tightfit.bench.evidence import append
from tightfit.bench.pairs import Work, ratio_within, stepping
from tightfit.commands.words import WrongWords
from tightfit.memory.measured import peak_live_bytes
from tightfit.models.hf_library import transformers
from tightfit.optimizers.base import Batch
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.directions.torch_legacy import TorchLegacy
from tightfit.optimizers.mezo import MeZO
from tightfit.records.machine import describe_machine, keep_freed_memory

VOCABULARY = 49152
LR, EPS = 1e-9, 1e-3
MOST_PAIRS, LEAST_PAIRS, SECONDS = 7, 3, 12  # of measurements, and how long those of one step may take


@dataclass(frozen=True)
class Shape:
    """Of a Llama-like network; the head shares the embedding's weights."""

    width: int
    layers: int
    heads: int
    key_value_heads: int
    feed_forward: int


@dataclass(frozen=True)
class Workload:
    model: str
    sequences: int
    length: int
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        return f"{self.model}, {self.sequences} × {self.length} tokens, {dtype_name(self.dtype)}"


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


SHAPES = {"55M": Shape(384, 23, 6, 2, 1024), "135M": Shape(576, 30, 9, 3, 1536)}
TOKENS = ((1, 64), (4, 64), (8, 64), (8, 256))
SHORT = [Workload("135M", 4, 64), Workload("135M", 8, 64)]
FULL = [Workload(m, b, s, d) for m in SHAPES for d in (torch.float32, torch.bfloat16) for b, s in TOKENS]


def settings_of(shape: Shape) -> dict[str, Any]:
    """As transformers calls them."""
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "intermediate_size": shape.feed_forward,
        "tie_word_embeddings": True,
        "use_cache": False,
    }


def llama(shape: Shape, dtype: torch.dtype) -> nn.Module:
    """A network of that shape with random weights, as a function of tokens to the logits of the last position."""
    library = transformers()
    torch.manual_seed(0)
    return library.LlamaForCausalLM(library.LlamaConfig(**settings_of(shape))).to(dtype).eval()


def loss(model: Any, batch: Batch) -> torch.Tensor:
    output = model(batch.inputs, logits_to_keep=1)
    return F.cross_entropy(output.logits[:, -1].float(), batch.labels)


def contenders(model: nn.Module, batch: Batch) -> dict[str, Work]:
    """The steps that are compared, by name."""

    def stepper(**options: Any) -> Work:
        return stepping(MeZO(LR, EPS, **options).bind(model, loss, seed=0), batch)

    return {
        "bound: two forwards, three bare sweeps": with_sweeps(two_forwards(model, batch), model, 3),
        "rademacher, fused": stepper(direction=Independent("rademacher", "fused")),
        "gaussian_fast, fused": stepper(direction=Independent("gaussian_fast", "fused")),
        "rademacher, fused, exact": stepper(direction=Independent("rademacher", "fused"), restore="exact"),
        "gaussian_fast, fused, exact": stepper(direction=Independent("gaussian_fast", "fused"), restore="exact"),
        "rademacher, portable": stepper(direction=Independent("rademacher", "portable")),
        "gaussian_fast, portable": stepper(direction=Independent("gaussian_fast", "portable")),
        "gaussian": stepper(direction=Independent("gaussian")),
        "rademacher, slow reference": stepper(direction=Independent("rademacher", "reference")),
        # Last, because it puts new tensors into the model where the others moved those that they found.
        "four draws out of place, as published": stepper(direction=TorchLegacy()),
    }


def with_sweeps(work: Work, model: nn.Module, sweeps: int) -> Work:
    """`work`, then so many times reading and writing the weights."""

    def both() -> None:
        work()
        for _ in range(sweeps):
            for parameter in model.parameters():
                parameter.data.mul_(1.0)

    return both


def two_forwards(model: nn.Module, batch: Batch) -> Work:
    @torch.no_grad()
    def work() -> None:
        loss(model, batch).item()
        loss(model, batch).item()

    return work


def measure(workload: Workload) -> Iterator[dict[str, Any]]:
    """A row for each step: its seconds over those of two forward passes (median, quartiles), and in themselves.

    Its `peak` is the most bytes of tensors alive in it, over the same of a forward pass.
    """
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, VOCABULARY, (workload.sequences, workload.length), generator=generator)
    model = llama(SHAPES[workload.model], workload.dtype)
    batch = Batch(tokens, tokens[:, 0], 0, 0.0)
    reference = two_forwards(model, batch)

    def peak(work: Work) -> int:
        return peak_live_bytes(work, list(model.parameters()), uncounted=[batch.inputs, batch.labels])

    inference = peak(reference)
    for name, step in contenders(model, batch).items():
        ratio = ratio_within(step, reference, SECONDS, MOST_PAIRS, LEAST_PAIRS)
        quartiles = {"ratio": ratio.median, "ratio_low": ratio.low, "ratio_high": ratio.high}
        times = {**quartiles, "seconds": ratio.seconds, "pairs": ratio.pairs}
        yield {"step": name, **times, "peak": peak(step) / inference}


def show(workload: Workload, rows: Iterable[dict[str, Any]], console: Console) -> None:
    table = Table("step", "/ two forwards", "quartiles", "seconds", "peak / inference", title=str(workload))
    table.columns[0].no_wrap = True
    for row in rows:
        quartiles = f"{row['ratio_low']:.3f}–{row['ratio_high']:.3f}"
        table.add_row(row["step"], f"{row['ratio']:.3f}", quartiles, f"{row['seconds']:.3f}", f"{row['peak']:.3f}")
    console.print(table)


def recorded(workload: Workload, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`rows` as they go on record: each with its workload."""
    known = {**asdict(workload), "dtype": dtype_name(workload.dtype)}
    return [{**known, **{name: round(v, 5) if isinstance(v, float) else v for name, v in row.items()}} for row in rows]


def measure_all(full: bool, only: str, threads: int | None, csv: str | None) -> None:
    """Show, and append to the file `csv`, what the workloads whose title has `only` cost; few of them unless `full`."""
    workloads = [workload for workload in (FULL if full else SHORT) if only in str(workload)]
    if not workloads:
        raise WrongWords(f"only={only} is in no title; choose a part of one of: {'; '.join(map(str, FULL))}")
    threads = threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    keep_freed_memory()
    console = Console()
    machine = describe_machine(torch.device("cpu"))
    console.print(
        f"{machine['cpu']}, {threads} threads, torch {machine['torch']}; medians of "
        f"{LEAST_PAIRS} to {MOST_PAIRS} pairs\n"
    )
    for workload in workloads:
        rows = list(measure(workload))
        show(workload, rows, console)
        append(csv, recorded(workload, rows))
