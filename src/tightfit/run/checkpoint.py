"""Where a run stands, on disk: written whole or not at all, and trusted only as it was written.

A checkpoint is sealed: a line with the sha256 of all that follows. Weights at the end of a run are a plain file of
PyTorch's, whose digest the record of the run holds.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tightfit.records.record import EVALS, write_atomically

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.pt"
REPLAY_LOG = "losses.f32"
BEST = "best_{}.pt"  # by the step whose weights they are
FILES = ("run.json", EVALS, CHECKPOINT, WEIGHTS, REPLAY_LOG, BEST.format("*"))  # patterns of all that a run writes
SEAL = "tightfit checkpoint, sha256 {}\n"
SEAL_BYTES = len(SEAL.format("0" * 64))
FROM_THE_BEGINNING = "delete it to start the run again from its beginning (the steps so far are lost)"


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace `path` by `state` atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def seal(path: Path, key: str, state: dict[str, Any]) -> None:
    """Replace `path` atomically by the checkpoint `state` of the run `key`."""
    buffer = io.BytesIO(bytes(SEAL_BYTES))
    buffer.seek(SEAL_BYTES)
    torch.save({"key": key, **state}, buffer)
    written = buffer.getbuffer()
    written[:SEAL_BYTES] = seal_of(written[SEAL_BYTES:])
    write_atomically(path, written)


def seal_of(content: bytes | memoryview) -> bytes:
    return SEAL.format(hashlib.sha256(content).hexdigest()).encode()


def unseal(path: Path, key: str, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """The checkpoint in `path` of the run `key`, or None where there is none.

    Raises ValueError when it cannot be read, is not as it was written, or is of another run.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            expected, content = file.read(SEAL_BYTES), file.read()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); {FROM_THE_BEGINNING}") from error
    if expected.startswith(b"PK"):  # a plain file of PyTorch's
        raise ValueError(f"{path} is of an earlier version, with no sha256 to trust it by; {FROM_THE_BEGINNING}")
    if expected != seal_of(content):
        raise ValueError(f"{path} is damaged (its sha256 is not the one it was written with); {FROM_THE_BEGINNING}")
    state = read(io.BytesIO(content), device)
    if state["key"] != key:
        raise ValueError(f"{path} is the checkpoint of the run {state['key']}, not of {key}; {FROM_THE_BEGINNING}")
    return state


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """The weights in `path`, or None where there are none.

    Raises ValueError when the file is damaged.
    """
    if not path.exists():
        return None
    try:
        return read(path, device)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is damaged ({reason})") from error


def read(file: Path | io.BytesIO, device: torch.device | str) -> dict[str, Any]:
    """What PyTorch saved in `file`. Only tensors and plain values are read, never code."""
    with torch.serialization.safe_globals([bytes]):  # an empty log of losses is pickled as a call of it
        return torch.load(file, map_location=device, weights_only=True)


def take_weights(model: nn.Module, path: Path, sha256: str, otherwise: str) -> None:
    """Give `model` the weights in `path`, those with `sha256`.

    Raises ValueError, which ends in `otherwise`, when they are gone, damaged, of other shapes, or others.
    """
    try:
        weights = load(path)
    except ValueError as error:
        raise ValueError(f"{error}; {otherwise}") from error
    if weights is None:
        raise ValueError(f"{path} is gone; {otherwise}")
    try:
        model.load_state_dict(weights)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{path} holds weights of another model; {otherwise}") from error
    if weights_digest(model) != sha256:
        raise ValueError(f"{path} holds other weights than the run left there; {otherwise}")


def clear_ended(folder: Path) -> None:
    """Delete what only a run under way needs."""
    for path in (folder / CHECKPOINT, *folder.glob(BEST.format("*"))):
        path.unlink(missing_ok=True)


def weights_digest(model: nn.Module) -> str:
    """sha256 over names and values of the weights: equal exactly when the models are."""
    return digest(model.state_dict())


def buffers_digest(model: nn.Module) -> str:
    """The same over what is saved with the weights and is no parameter, such as statistics of batches."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return digest({name: tensor for name, tensor in model.state_dict().items() if name not in parameters})


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    sha256 = hashlib.sha256()
    for name, tensor in tensors.items():
        sha256.update(name.encode())
        sha256.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())  # numpy has no bfloat16
    return sha256.hexdigest()
