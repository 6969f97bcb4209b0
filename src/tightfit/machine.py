"""Where and with what a run was made: the evidence that a number carries."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

REPOSITORY = Path(__file__).resolve().parents[2]
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Processor, memory, versions and threads, in words a reader of a table understands."""
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "platform": platform.system(),
    }


@functools.cache
def commit() -> tuple[str, bool]:
    """The commit of the code and whether tracked files differ from it; ("", False) outside a git checkout."""
    try:
        head = _git("rev-parse", "HEAD")
        return head, bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return "", False


def has_numba() -> bool:
    """Whether sweeps over weights and numbers can be compiled (extra `fast`)."""
    return find_spec("numba") is not None


def has_triton() -> bool:
    """Whether sweeps over weights on CUDA can be compiled (comes with PyTorch's builds for CUDA on Linux)."""
    return find_spec("triton") is not None


def keep_freed_memory() -> None:
    """Have the C library keep freed blocks for the next step, where it is one that can be told (glibc).

    It would return activations of a few MB to the system after each step and fetch them anew, page by page, in the
    next: depending on what ran before, that doubled the time of a step. The peak is the same.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the most it accepts; larger blocks still come from the system
        mallopt(M_TRIM_THRESHOLD, 2**30)


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
