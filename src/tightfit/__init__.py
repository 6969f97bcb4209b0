"""Which training method gives the best model, given this many bytes of memory and this much time?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tightfit.use.api import Result, train

__all__ = ["Result", "__version__", "train"]
__version__ = "0.1.0"
# `python -m tightfit.reproduce` and others are former forms of the verbs of `tightfit`.
__path__.append(os.path.join(os.path.dirname(__file__), "old_forms"))


def __getattr__(name: str) -> Any:
    """`train` and `Result`, which wait for PyTorch, are imported when they are asked for."""
    if name not in ("Result", "train"):
        raise AttributeError(f"module 'tightfit' has no attribute {name!r}")
    from tightfit.use import api

    return getattr(api, name)
