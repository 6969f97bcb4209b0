"""Rebuild the weights of a zeroth-order run from its losses: `tightfit replay runs/scratch/0123456789ab`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from tightfit.commands import DONE, carry_out, told
from tightfit.commands.verbs import REPLAY
from tightfit.commands.words import Said, WrongWords
from tightfit.models.base import traits_of
from tightfit.records.record import read_run, require, write_atomically
from tightfit.run.checkpoint import REPLAY_LOG, weights_digest
from tightfit.run.course import Course
from tightfit.run.faults import EXPECTED
from tightfit.run.session import build_task
from tightfit.run.start import EXPORTED
from tightfit.run.trust import check_code

PARTS = (
    "optimizer",
    "model",
    "adapter",
    "dataset",
    "training",
    "memory_budget",
    "pretraining",
    "seed",
    "device",
    "threads",
)
NEEDED = (*(f"config.{part}" for part in PARTS), "memory.batch_size", "summary.steps", "summary.weights_sha256")


def rebuild(folder: Path) -> nn.Module:
    """The trained model of the run in `folder`, equal bit for bit to the one it ended with.

    Raises ValueError when there is no finished run with a log, or when the weights come out otherwise.
    """
    record = read_run(folder)
    if record is None or not (folder / REPLAY_LOG).exists():
        raise WrongWords(
            f"{folder} holds no run with {REPLAY_LOG}; only runs that use forward passes alone leave one; "
            "put it back, or name another folder"
        )
    require(folder, record, *NEEDED)
    task = build_task(record.config, copy.deepcopy(record))
    course = Course(task, record, folder, record.memory["batch_size"])
    course.bind()
    try:
        course.replay((folder / REPLAY_LOG).read_bytes(), record.summary["steps"])
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder / REPLAY_LOG}: {error}; put the whole file back") from error
    model = course.learner.resting_model()
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


def main(words: Sequence[str]) -> int:
    return carry_out(REPLAY, words, replay)


def replay(said: Said) -> int:
    """Rebuild the runs that were said, each whatever becomes of the others; the exit code."""
    code = DONE
    for folder in map(Path, said.named):
        try:
            check_code(folder, said.settings["trust"])
            write_safetensors(folder / EXPORTED, to_keep(rebuild(folder)))
        except EXPECTED as error:
            code = max(code, told(error))
            continue
        print(f"{folder / EXPORTED}: rebuilt from {(folder / REPLAY_LOG).stat().st_size} bytes, sha256 as recorded")
    return code
