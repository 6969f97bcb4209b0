"""What a run's bytes are: `tightfit layers model=lenet5 dataset=mnist optimizer=bp_adam`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict, astuple, fields

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from rich.console import Console
from rich.table import Table

from tightfit.commands import DONE, carry_out, refuse
from tightfit.commands.verbs import LAYERS
from tightfit.commands.words import Said
from tightfit.memory.budget import ALL_BUFFERS_LIVE, PEAK_LIVE, readable
from tightfit.memory.operations import Operation, operation_table
from tightfit.optimizers.base import undifferentiated
from tightfit.records.places import CONF
from tightfit.records.record import RunRecord
from tightfit.run.checks import check_configuration
from tightfit.run.configuration import resolved, with_new_settings
from tightfit.run.evaluate import cross_entropy
from tightfit.run.faults import EXPECTED
from tightfit.run.fitting import choose_batch_size, rehearsed_inference_peak, rehearsed_peak
from tightfit.run.session import build_task
from tightfit.run.spellings import in_todays_words
from tightfit.run.task import Task

WIDTH = 160  # characters, where the output is not a terminal


def main(words: Sequence[str]) -> int:
    return carry_out(LAYERS, words, layers)


def layers(said: Said) -> int:
    """Print the operations of the run that was said, and what a step of it holds; the exit code."""
    try:
        task = task_of(said.of_a_run)
        table = task.table
        batch_size = choose_batch_size(task, table)
        peaks = {
            ALL_BUFFERS_LIVE: task.optimizer.memory(table, batch_size).total,
            PEAK_LIVE: rehearsed_peak(task, batch_size),
            f"{PEAK_LIVE} of inference": rehearsed_inference_peak(task, batch_size),
        }
        for parameter in undifferentiated(task.optimizer.bind(task.model, cross_entropy, task.seed)):
            parameter.requires_grad_(False)
        rows = operation_table(task.model, task.dataset.example_shape, batch_size)
    except (HydraException, *EXPECTED) as error:
        return refuse(str(error).splitlines()[0])
    if said.settings["csv"]:
        print_csv(rows)
    else:
        print_table(rows, batch_size, peaks)
    return DONE


def task_of(words: Sequence[str]) -> Task:
    """The parts of the run that `words` describe, as a run would build them."""
    overrides = with_new_settings(in_todays_words(words))
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        config = resolved(compose("config", overrides=overrides))
    check_configuration(config)
    return build_task({**config, "pretraining": None}, RunRecord(key="", experiment="", config={}))


def print_csv(rows: Sequence[Operation]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([field.name for field in fields(Operation)])
    writer.writerows(astuple(row) for row in rows)


def print_table(rows: Sequence[Operation], batch_size: int, peaks: dict[str, int]) -> None:
    """The operations with their sums, and what a step holds."""
    table = Table(title=f"{len(rows)} operations on a batch of {batch_size}", title_justify="left", show_footer=True)
    sums = {name: sum(asdict(row)[name] for row in rows) for name in ("outputs", "kept")}
    table.add_column("module", "sum", overflow="fold")
    table.add_column("operation", overflow="fold")
    table.add_column("parameters", justify="right")
    table.add_column("inputs", justify="right")
    table.add_column("outputs", readable(sums["outputs"]), justify="right")
    table.add_column("kept for backward", readable(sums["kept"]), justify="right")
    for row in rows:
        sizes = (readable(size) if size else "" for size in (row.inputs, row.outputs, row.kept))
        table.add_row(row.module, row.kind, f"{row.parameters:,}" if row.parameters else "", *sizes)
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    console.print(table)
    for convention, size in peaks.items():
        console.print(f"{convention}: {readable(size)}", highlight=False)
