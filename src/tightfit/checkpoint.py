"""Where a run stands, on disk: written whole or not at all."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tightfit.records import write_atomically


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace `path` by `state` atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """The state in `path`, or None where there is none. Only tensors and plain values are read, never code.

    Raises ValueError when the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with torch.serialization.safe_globals([bytes]):  # an empty log of losses is pickled as a call of it
            return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to start the run again from its beginning") from error


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
