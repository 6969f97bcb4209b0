"""What a zeroth-order step of a language model costs beside its two forward passes: `make bench`.

Random weights in the shape of Llama; one loss at the last position. Each step is timed in turn with the two forwards
it contains, so a machine that slows down slows both; medians of the ratios, with quartiles. The bound is what no
perturbation in place can beat: two forwards, and three times reading and writing the weights.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F

from tightfit.bench import Work, paired_ratio
from tightfit.machine import describe_machine, keep_freed_memory
from tightfit.optimizers.base import Batch
from tightfit.optimizers.mezo import MeZO

VOCABULARY = 49152
LR, EPS = 1e-9, 1e-3
PAIRS = 7
SLOW, PAIRS_OF_SLOW = ("reference", "published"), 3  # several times a step: they are there for scale


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
        return f"{self.model}, {self.sequences} × {self.length} tokens, {str(self.dtype).removeprefix('torch.')}"


SHAPES = {"55M": Shape(384, 23, 6, 2, 1024), "135M": Shape(576, 30, 9, 3, 1536)}
TOKENS = ((1, 64), (4, 64), (8, 64), (8, 256))
SHORT = [Workload("135M", 4, 64), Workload("135M", 8, 64)]
FULL = [Workload(m, b, s, d) for m in SHAPES for d in (torch.float32, torch.bfloat16) for b, s in TOKENS]


def llama(shape: Shape, dtype: torch.dtype) -> nn.Module:
    """A network of that shape with random weights, as a function of tokens to the logits of the last position."""
    from transformers import LlamaConfig, LlamaForCausalLM  # of the extra `lm`

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        intermediate_size=shape.feed_forward,
        tie_word_embeddings=True,
        use_cache=False,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).to(dtype).eval()


def loss(model: Any, batch: Batch) -> torch.Tensor:
    output = model(batch.inputs, logits_to_keep=1)
    return F.cross_entropy(output.logits[:, -1].float(), batch.labels)


def contenders(model: nn.Module, batch: Batch) -> dict[str, Work]:
    """The steps that are compared, by name."""

    def stepper(**options: Any) -> Work:
        learner = MeZO(LR, EPS, **options).bind(model, loss, seed=0)
        steps = count()
        return lambda: learner.step(Batch(batch.inputs, batch.labels, next(steps), 0.0))

    def sweep() -> None:
        for parameter in model.parameters():
            parameter.data.mul_(1.0)

    forwards = two_forwards(model, batch)

    def bound() -> None:
        forwards()
        for _ in range(3):
            sweep()

    return {
        "bound: two forwards, three bare sweeps": bound,
        "rademacher, fused": stepper(noise="rademacher", kernel="auto"),
        "gaussian_fast, fused": stepper(noise="gaussian_fast", kernel="auto"),
        "rademacher, fused, exact": stepper(noise="rademacher", kernel="auto", restore="exact"),
        "gaussian_fast, fused, exact": stepper(noise="gaussian_fast", kernel="auto", restore="exact"),
        "rademacher, portable": stepper(noise="rademacher", kernel="portable"),
        "gaussian_fast, portable": stepper(noise="gaussian_fast", kernel="portable"),
        "gaussian": stepper(noise="gaussian"),
        "rademacher, slow reference": stepper(noise="rademacher", kernel="reference"),
        # Last, because it puts new tensors into the model where the others moved those that they found.
        "four draws out of place, as published": stepper(noise="torch_legacy"),
    }


def two_forwards(model: nn.Module, batch: Batch) -> Work:
    @torch.no_grad()
    def work() -> None:
        loss(model, batch).item()
        loss(model, batch).item()

    return work


def measure(workload: Workload, console: Console) -> None:
    """Print the table of one workload."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, VOCABULARY, (workload.sequences, workload.length), generator=generator)
    model = llama(SHAPES[workload.model], workload.dtype)
    batch = Batch(tokens, tokens[:, 0], 0, 0.0)
    reference = two_forwards(model, batch)
    reference()
    table = Table("step", "/ two forwards", "quartiles", "seconds", title=str(workload))
    for name, step in contenders(model, batch).items():
        step()
        pairs = PAIRS_OF_SLOW if name.endswith(SLOW) else PAIRS
        low, median, high, seconds = paired_ratio(step, reference, pairs, repeats=1)
        table.add_row(name, f"{median:.3f}", f"{low:.3f}–{high:.3f}", f"{seconds:.3f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tightfit.bench_language", description=__doc__)
    parser.add_argument("--full", action="store_true", help="every model, number of tokens and type of weights")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: one per core")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    console = Console()
    machine = describe_machine(torch.device("cpu"))
    console.print(f"{machine['cpu']}, {options.threads} threads, torch {machine['torch']}; medians of {PAIRS} pairs\n")
    for workload in FULL if options.full else SHORT:
        measure(workload, console)


if __name__ == "__main__":
    main()
