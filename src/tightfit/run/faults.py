"""Which errors are of the user's input or machine, and how one line tells them.

Anything else is a fault of ours and shows its trace.
"""

from __future__ import annotations

import errno

import torch

from tightfit.datasets.dataset import DataUnavailable
from tightfit.memory.enforcement import is_exhaustion

FULL = (errno.ENOSPC, errno.EDQUOT)
EXPECTED = (ValueError, DataUnavailable, OSError, MemoryError, torch.OutOfMemoryError)


def is_expected(error: BaseException) -> bool:
    """Whether one line tells an error, because it is of the user's input or machine."""
    return isinstance(error, EXPECTED) or is_exhaustion(error) or is_overflow(error)


def is_overflow(error: BaseException) -> bool:
    """Whether `error` is PyTorch's or Python's way of saying that a number does not fit a type."""
    return isinstance(error, OverflowError) or (isinstance(error, RuntimeError) and "without overflow" in str(error))


def reason_of(error: BaseException) -> str:
    """The error in one line, with what to do where its own words do not say it."""
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    line = said.partition("\n")[0]
    if is_exhaustion(error):
        return f"{line}; memory ran out, so free some, or choose a smaller training.batch_size or another method"
    if is_overflow(error):
        return f"{line}; a setting is too large a number, so lower the learning rate or what else was set"
    if isinstance(error, OSError) and error.errno in (*FULL, errno.EIO):
        free = "free space and " if error.errno in FULL else "check the disk and "
        return f"{line}; {free}run again to continue"
    return said
