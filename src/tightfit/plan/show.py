"""A plan on the screen, as JSON or CSV, and as a picture."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from tightfit.memory.assumptions import Assumptions
from tightfit.memory.budget import readable
from tightfit.plan.answer import Answer
from tightfit.plan.sentence import sentences
from tightfit.records.places import analysis

WIDTH = 175  # columns where the output is no terminal
EXPLANATION = (
    "All numbers are derived; none is measured. fwd: forward passes of a step; bwd: its backward work, in forward",
    "passes; swp: sweeps over the weights besides; s at peak: a lower bound, the device at its peak rates. max b keeps",
    "the positions, max s the batch. Networks that are no transformers: as their runs count, all buffers live.",
)


def print_table(rows: Sequence[Answer], assumptions: Assumptions) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    groups = dict.fromkeys((row.device, row.budget_bytes, row.sequence_length, row.batch_size) for row in rows)
    for group in groups:
        device, budget, s, b = group
        own = [row for row in rows if (row.device, row.budget_bytes, row.sequence_length, row.batch_size) == group]
        console.print(needs(own, f"{device}: {size_of(budget)}; batch {b}" + (f", {s} positions" if s else "")))
        if any(row.largest_model_parameters is not None for row in own):
            console.print(largest_models(own))
    if any(row.in_flash_bytes for row in rows):
        console.print("Frozen weights are in the totals; those that flash has room for need not fit the memory.")
    for model in dict.fromkeys(row.model for row in rows if shown(row.model) != row.model):
        console.print(model.replace(": ", ", changed: ", 1))
    for line in EXPLANATION:
        console.print(line)
    if any(row.sequence_length for row in rows):
        console.print("transformers: " + spelled(assumptions))
    for sentence in sentences(rows):
        console.print(f"\n{sentence}")


def size_of(budget: int | None) -> str:
    return "no limit" if budget is None else readable(budget)


def needs(rows: Sequence[Answer], title: str) -> Table:
    table = Table(title=title, title_justify="left", pad_edge=False)
    for name in ("model", "method"):
        table.add_column(name, no_wrap=True)
    memory = ("total", "weights", "grad.", "state", "activ.")
    numbers = ("params", *memory, "fits", "max b", "max s", "fwd", "bwd", "swp")
    for name in (*numbers, "s at peak"):
        table.add_column(name, justify="right")
    for row in rows:
        held = row.memory
        parts = (held.total, held.parameters, held.gradients, held.optimizer_state, held.activations + held.errors)
        table.add_row(
            shown(row.model),
            row.optimizer,
            counted(row.parameters),
            *(readable(part) for part in parts),
            "[green]yes[/green]" if row.fits else "[red]no[/red]",
            str(row.largest_batch),
            "–" if row.largest_sequence is None else str(row.largest_sequence),
            *(f"{part:.2f}".removesuffix(".00") for part in (row.cost.forward, row.cost.backward, row.cost.sweeps)),
            "–" if row.seconds_at_peak is None else f"{row.seconds_at_peak:.3g}",
        )
    return table


def shown(model: str) -> str:
    """A model in a narrow column: that it was changed; how, is said below."""
    name, changed, _ = model.partition(": ")
    return f"{name}, changed" if changed else name


def counted(parameters: int) -> str:
    """A number of parameters in four digits, as model cards give it."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if parameters >= size:
            return f"{parameters / size:.4g} {unit}"
    return str(parameters)


def largest_models(rows: Sequence[Answer]) -> Table:
    """For each method the largest model of the family: the same in all rows of the method."""
    table = Table(title="largest Llama-2-shaped model", title_justify="left", pad_edge=False)
    for name in ("method", "model", "parameters"):
        table.add_column(name, justify="right" if name == "parameters" else "left")
    for name, row in {row.optimizer: row for row in rows if row.largest_model_parameters is not None}.items():
        found = counted(row.largest_model_parameters or 0) if row.largest_model else "none"
        table.add_row(name, row.largest_model or "–", found)
    return table


def spelled(assumptions: Assumptions) -> str:
    return ", ".join(f"{name}={str(value).lower()}" for name, value in asdict(assumptions).items())


def print_json(rows: Sequence[Answer], assumptions: Assumptions) -> None:
    print(json.dumps({"rows": [row.as_dict() for row in rows], "assumptions": asdict(assumptions)}, indent=2))


def print_csv(rows: Sequence[Answer], assumptions: Assumptions) -> None:
    """One line a row; the last columns are the assumptions, of transformers alone."""
    table = [row.as_dict() for row in rows]
    columns = dict.fromkeys(name for line in table for name in line)
    writer = csv.DictWriter(sys.stdout, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)


def draw(rows: Sequence[Answer], path: str) -> None:
    """Write a bar for each need, stacked by kind of bytes, and a line at the memory of each device. Overwrites `path`.

    Raises ValueError where `path` cannot be written or names no format.
    """
    from matplotlib.figure import Figure  # a plan without a picture need not wait for it

    colors = analysis("palette").KIND_COLORS
    needs = {label(row): row.memory for row in rows}  # the same on every device
    figure = Figure(figsize=(10, 1.5 + 0.3 * len(needs)), layout="constrained")
    axes = figure.subplots()
    places, starts = range(len(needs)), [0.0] * len(needs)
    for kind, color in colors.items():
        sizes = [getattr(memory, kind) / 2**30 for memory in needs.values()]
        if any(sizes):
            axes.barh(places, sizes, left=starts, color=color, label=kind.replace("_", " "))
        starts = [start + size for start, size in zip(starts, sizes, strict=True)]
    limits = ((row.device, row.budget_bytes) for row in rows if row.budget_bytes is not None)
    for device, budget in dict.fromkeys(limits):
        axes.axvline(budget / 2**30, color="black", linestyle="--", linewidth=1)
        axes.annotate(
            device, (budget / 2**30, 1), xycoords=("data", "axes fraction"), fontsize=8, ha="center", va="bottom"
        )
    axes.set_yticks(places, list(needs), fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="GiB, derived from plain numbers; none is measured", xlim=(0, None))
    figure.legend(loc="outside lower center", ncols=len(colors), frameon=False, fontsize=8)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise ValueError(
            f"picture={path} cannot be written: {error.strerror}; name a file in a folder that exists"
        ) from None


def label(row: Answer) -> str:
    positions = f", s {row.sequence_length}" if row.sequence_length else ""
    return f"{row.model} · {row.optimizer} (b {row.batch_size}{positions})"
