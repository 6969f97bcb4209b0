"""The transformers and peft libraries, which are an extra, and their errors in our words."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tightfit.datasets.dataset import DataUnavailable

Loaded = TypeVar("Loaded")

# They come with executorch, are imported by transformers where they are, and warn of kernels for other machines.
UNASKED = ("torchao", "torch.utils._pytree")


def transformers() -> Any:
    """The library; raises ValueError, saying how to get it, where it is not installed."""
    library = extra("transformers")
    library.logging.disable_progress_bar()
    library.logging.set_verbosity_error()
    return library


def extra(name: str) -> Any:
    for unasked in UNASKED:
        logging.getLogger(unasked).setLevel(logging.ERROR)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"language models and adapter=lora need {name} ({error}); install it with pip install 'tightfit[lm]'"
        ) from None


def loaded(source: str, load: Callable[[], Loaded]) -> Loaded:
    """What `load` makes of `source`, a local folder or a name on the hub; raises DataUnavailable when it cannot."""
    try:
        return load()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        place = "the folder" if Path(source).is_dir() else "no local folder, and from the hub"
        raise DataUnavailable(
            f"model {source} cannot be loaded ({place}: {reason}); name a folder with config.json, the weights and the "
            "tokenizer's files, or connect to the hub"
        ) from error
