"""A model and data that a Python program gives to a run as objects, in a configuration by what they are.

Their sha256 stands for them, in the run's key too; the objects are kept as long as the process lives.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from tightfit.datasets.arrays import part_of
from tightfit.datasets.dataset import Dataset
from tightfit.datasets.labels import split_called
from tightfit.datasets.own import WHOLE, Part, digest_of, own_dataset
from tightfit.run.checkpoint import weights_digest

Pair = tuple[Any, Any]  # inputs and labels, arrays or tensors
Data = Pair | Mapping[str, Pair]

MODELS: dict[str, nn.Module] = {}
DATA: dict[str, dict[str, Part]] = {}


def describe_model(model: nn.Module) -> dict[str, Any]:
    """The part of a configuration that stands for `model` as it is now."""
    kind = type(model)
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):  # of a class made on the spot
        source = ""
    sha256 = hashlib.sha256(f"{kind.__qualname__}\n{source}\n{model}\n{weights_digest(model)}".encode()).hexdigest()
    MODELS[sha256] = copy.deepcopy(model)
    return {"_target_": "tightfit.run.given.given_model", "name": kind.__name__, "sha256": sha256}


def given_model(classes: int, seed: int, sha256: str) -> nn.Module:
    """A copy of the model that was described. Raises ValueError in another process, which does not have it."""
    if sha256 not in MODELS:
        raise ValueError(
            f"the run's model (sha256 {sha256[:12]}…) was given in Python; give it to tightfit.train again"
        )
    return copy.deepcopy(MODELS[sha256])


def describe_data(data: Data) -> dict[str, Any]:
    """The part of a configuration that stands for `data`. Raises ValueError for what is no inputs and labels."""
    pairs = data if isinstance(data, Mapping) else {WHOLE: data}
    parts: dict[str, Part] = {}
    for name, pair in pairs.items():
        split = WHOLE if name == WHOLE else split_called(name)
        if split is None or not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(
                f'data[{name!r}] is no pair for a split; give (inputs, labels), or {{"train": (…), "test": (…)}}'
            )
        parts[split] = part_of("data", name, (as_array(pair[0]), as_array(pair[1])), channels_last=False)
    sha256 = digest_of(parts)
    DATA[sha256] = parts
    return {"_target_": "tightfit.run.given.given_data", "name": "given", "sha256": sha256}


def as_array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def given_data(
    name: str,
    sha256: str,
    scored: str = "test",
    held_out: int = 0,
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> Dataset:
    """The data that were described; `own_dataset` says what the rest is. Raises ValueError in another process."""
    if sha256 not in DATA:
        raise ValueError(
            f"the run's data (sha256 {sha256[:12]}…) were given in Python; give them to tightfit.train again"
        )
    checksums = {"inputs and labels": sha256}
    return own_dataset(name, DATA[sha256], scored, held_out, train_limit, test_limit, "given in Python", checksums, {})
