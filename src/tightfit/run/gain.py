"""What training changed, example by example: `tightfit gain runs/on_device_mezo/fine_tuning/*`."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import nn

from tightfit.commands import DONE, carry_out, told
from tightfit.commands.verbs import GAIN
from tightfit.commands.words import Said, WrongWords
from tightfit.datasets.batches import encoding_for
from tightfit.records.machine import commit
from tightfit.records.record import ANEW, RunRecord, append_csv, read_run, require
from tightfit.run import checkpoint
from tightfit.run.checkpoint import REPLAY_LOG, WEIGHTS
from tightfit.run.evaluate import cross_entropy, right_answers
from tightfit.run.faults import EXPECTED
from tightfit.run.replay import NEEDED, rebuild
from tightfit.run.session import build_task
from tightfit.run.trust import check_code

Z_975 = 1.959964


@dataclass(frozen=True)
class Gain:
    """Examples that were right before and after training, and that became right or wrong."""

    examples: int
    before: int
    after: int
    gained: int
    lost: int

    @property
    def difference(self) -> float:
        """Accuracy after, minus before."""
        return (self.gained - self.lost) / self.examples

    @property
    def interval(self) -> tuple[float, float]:
        """Of the difference, 95 %, for examples drawn at random: Wald's for paired shares."""
        variance = (self.gained + self.lost) / self.examples - self.difference**2
        half = Z_975 * math.sqrt(variance / self.examples)
        return self.difference - half, self.difference + half


def gain(folder: Path) -> tuple[RunRecord, Gain]:
    """The record of the run in `folder`, and what its training gained.

    Raises ValueError when the run has not finished, or its weights are not those on record.
    """
    record = read_run(folder)
    if record is None or record.status != "finished":
        raise WrongWords(f"{folder} holds no run that finished; name the folder of one, as in runs/scratch/…")
    require(folder, record, *NEEDED, "config.cell", "model.name")
    task = build_task(with_all_examples(record.config), copy.deepcopy(record))
    encode = encoding_for(task.model, task.dataset)
    before = right_answers(task.model, task.dataset.test, encode)
    learner = task.optimizer.bind(task.model, cross_entropy, task.seed)
    after = right_answers(trained(learner.resting_model(), folder, record), task.dataset.test, encode)
    changed = int((after & ~before).sum()), int((before & ~after).sum())
    return record, Gain(len(before), int(before.sum()), int(after.sum()), *changed)


def with_all_examples(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with nothing left out of the split that is scored."""
    dataset = config["dataset"]
    return {**config, "dataset": {**dataset, "test_limit": None} if "test_limit" in dataset else dataset}


def trained(model: nn.Module, folder: Path, record: RunRecord) -> nn.Module:
    """`model` with the weights that the run ended with, kept or rebuilt from its losses."""
    path = folder / WEIGHTS
    if not path.exists() and (folder / REPLAY_LOG).exists():
        return rebuild(folder)
    otherwise = f"put the file back, or {ANEW}"
    checkpoint.take_weights(model, path, record.summary["weights_sha256"], otherwise)
    return model


def row(record: RunRecord, found: Gain) -> dict[str, Any]:
    """A line of the record: shares as fractions."""
    low, high = found.interval
    numbers = {"difference": found.difference, "low": low, "high": high}
    return {
        "key": record.key,
        "cell_row": (record.config["cell"] or {}).get("row"),
        "optimizer": record.config["optimizer"]["name"],
        "model": record.model["name"],
        "budget": record.config["memory_budget"]["name"],
        "seed": record.config["seed"],
        "examples": found.examples,
        "before": found.before,
        "after": found.after,
        "gained": found.gained,
        "lost": found.lost,
        **{name: round(number, 5) for name, number in numbers.items()},
        "commit": commit()[0][:12],
    }


def main(words: Sequence[str]) -> int:
    return carry_out(GAIN, words, gains)


def gains(said: Said) -> int:
    """Show what the runs that were said gained, each whatever becomes of the others; the exit code."""
    table = Table("run", "seed", "examples", "before", "after", "became right", "became wrong", "difference, 95 %")
    code = DONE
    for folder in map(Path, said.named):
        try:
            check_code(folder, said.settings["trust"])
            line = row(*gain(folder))
            if said.settings["csv"]:
                append_csv(Path(said.settings["csv"]), [line], "the record of a gain")
        except EXPECTED as error:
            code = max(code, told(error))
            continue
        table.add_row(*texts(line))
    if table.rows:
        Console().print(table)
    return code


def texts(line: Mapping[str, Any]) -> list[str]:
    accuracies = [f"{line[when] / line['examples']:.2%}" for when in ("before", "after")]
    difference = f"{100 * line['difference']:+.2f} ({100 * line['low']:+.2f} to {100 * line['high']:+.2f})"
    name = line["cell_row"] or f"{line['optimizer']}, {line['model']}"
    counts = [str(line[count]) for count in ("gained", "lost")]
    return [name, str(line["seed"]), str(line["examples"]), *accuracies, *counts, difference]
