"""Rebuild the weights of a zeroth-order run from its losses: `python -m tightfit.replay runs/scratch/0123456789ab`.

The starting model is built as the run's record says, every step is made again with the losses noted instead of
forward passes, and the sha256 of the weights must be the one on record. Exact on the kind of device that trained.
Say `trust=true` beside the folders where a record names a model or a data set that is code of your own.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from tightfit.models.base import traits_of
from tightfit.records.record import read_run, require, write_atomically
from tightfit.run.checkpoint import weights_digest
from tightfit.run.loop import REPLAY_LOG, Run
from tightfit.run.session import EXPECTED, build_task, check_code
from tightfit.settings import asks_for_help, without_trust
from tightfit.tracking.local import LocalOnly

REBUILT = "model.safetensors"
PARTS = ("optimizer", "model", "dataset", "training", "memory_budget", "pretraining", "seed", "device", "threads")
NEEDED = (*(f"config.{part}" for part in PARTS), "memory.batch_size", "summary.steps", "summary.weights_sha256")


def rebuild(folder: Path) -> nn.Module:
    """The trained model of the run in `folder`, equal bit for bit to the one it ended with.

    Raises ValueError when there is no finished run with a log, or when the weights come out otherwise.
    """
    record = read_run(folder)
    if record is None or not (folder / REPLAY_LOG).exists():
        raise ValueError(f"{folder} holds no run with {REPLAY_LOG}; only runs that use forward passes alone leave one")
    require(folder, record, *NEEDED)
    task = build_task(record.config, copy.deepcopy(record))
    run = Run(task, record, folder, LocalOnly(), lambda *_: None, record.memory["batch_size"])
    run.bind()
    try:
        run.replay((folder / REPLAY_LOG).read_bytes(), record.summary["steps"])
    except ValueError as error:
        raise ValueError(f"{folder / REPLAY_LOG}: {error}; put the whole file back") from error
    model = run.learner.resting_model()
    digest, expected = weights_digest(model), record.summary["weights_sha256"]
    if digest != expected:
        raise ValueError(
            f"{folder}: the weights rebuilt have sha256 {digest}, the run ended with {expected}; rebuild with the "
            f"versions and on the device that run.json names, and check that {REPLAY_LOG} is whole"
        )
    return model


def to_keep(model: nn.Module) -> dict[str, torch.Tensor]:
    """All weights, or those that were trained where the rest is frozen (LoRA)."""
    frozen = traits_of(model).frozen
    return {name: weights for name, weights in model.state_dict().items() if name not in frozen}


def write_safetensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    from safetensors.torch import save  # of the extra `lm`

    write_atomically(path, save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}))


def main(folders: list[str]) -> int:
    if asks_for_help(folders):
        print(__doc__)
        return 0
    folders, trusted = without_trust(folders)
    if not folders:
        print("name the folder of a run: python -m tightfit.replay runs/scratch/0123456789ab", file=sys.stderr)
        return 2
    code = 0
    for folder in map(Path, folders):
        try:
            check_code(folder, trusted)
            write_safetensors(folder / REBUILT, to_keep(rebuild(folder)))
        except EXPECTED as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            code = 1
            continue
        print(f"{folder / REBUILT}: rebuilt from {(folder / REPLAY_LOG).stat().st_size} bytes, sha256 as recorded")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
