"""The weights that a run starts from: another run's, which is made first if need be and shared by all that need it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from tightfit.records.record import RunRecord, read_run, require
from tightfit.run import checkpoint
from tightfit.run.attempt import Outcome
from tightfit.run.checkpoint import WEIGHTS
from tightfit.run.holding import only_process_in
from tightfit.run.progress import describe, say

AGAIN = "again"  # a folder in that of the run, while it is made again for its weights
NO_ADAPTER = {"_target_": "tightfit.models.adapters.adapter.NoAdapter", "name": "none"}
UNLIMITED = {"_target_": "tightfit.memory.budget.MemoryBudget", "name": "unlimited"}
NO_TRACKER = {"_target_": "tightfit.tracking.local.LocalOnly"}


def pretraining_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The run whose weights `config` starts from; it may have a pretraining of its own. It trains the model itself: an
    adapter comes afterwards."""
    return {
        **config,
        **config["pretraining"],
        "experiment": "pretraining",
        "cell": None,
        "memory_budget": UNLIMITED,
        "pretraining": config["pretraining"].get("pretraining"),
        "distributed": None,
        "adapter": NO_ADAPTER,
    }


def take_pretrained(
    model: nn.Module, config: Mapping[str, Any], carry_out: Callable[[Mapping[str, Any]], Outcome]
) -> None:
    """Give `model` the weights that the run of `config` ends with; damaged ones are made again.

    carry_out: makes a run, unless it has ended.
    Raises ValueError when the weights on record are not to be had.
    """
    outcome = carry_out(config)
    folder, record = outcome.folder, read_run(outcome.folder)
    if outcome.status != "finished" or record is None:
        raise ValueError(f"pretraining ended as {outcome.status} in {folder}; see run.json there")
    require(folder, record, "summary.weights_sha256", "summary.train_seconds")
    label = describe(config)
    with only_process_in(folder, label):
        again = f"pretraining again ({record.summary['train_seconds']:.0f} s)"
        try:
            take(model, folder, record, again)
        except ValueError as damage:
            say(label, str(damage))
            make_again(config, folder, record, carry_out)
            take(model, folder, record, "it was made just now")


def take(model: nn.Module, folder: Path, record: RunRecord, otherwise: str) -> None:
    checkpoint.take_weights(model, folder / WEIGHTS, record.summary["weights_sha256"], otherwise)


def make_again(
    config: Mapping[str, Any], folder: Path, record: RunRecord, carry_out: Callable[[Mapping[str, Any]], Outcome]
) -> None:
    """Put the weights of the run in `folder` back there by making it again beside its `record`, which stays as it is.

    Raises ValueError where the run now ends with other weights than those on record.
    """
    outcome = carry_out({**config, "paths": {"runs": str(folder / AGAIN)}, "tracker": NO_TRACKER})
    made = read_run(outcome.folder)
    if outcome.status != "finished" or made is None or not (outcome.folder / WEIGHTS).exists():
        raise ValueError(f"pretraining again ended as {outcome.status} in {outcome.folder}; see run.json there")
    found, expected = made.summary["weights_sha256"], record.summary["weights_sha256"]
    if found != expected:
        raise ValueError(
            f"pretraining again ended with weights of sha256 {found[:12]}…, not {expected[:12]}… as on record (another "
            f"machine, other versions, or an end by seconds); put {folder / WEIGHTS} back, or move {folder} away to "
            "start from new weights"
        )
    os.replace(outcome.folder / WEIGHTS, folder / WEIGHTS)
    shutil.rmtree(folder / AGAIN)
