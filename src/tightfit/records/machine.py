"""Where and with what a run was made: the evidence that a number carries."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from tightfit.records.places import CHECKOUT, IS_CHECKOUT

CPUINFO, MACHINE_ID = Path("/proc/cpuinfo"), Path("/etc/machine-id")
DRIVER = Path("/proc/driver/nvidia/version")
CPU_LINES = {"cpu_family": "cpu family", "cpu_model": "model", "cpu_stepping": "stepping"}
# The instructions that sums are rounded by, and that decide how fast small numbers are multiplied.
TOLD_INSTRUCTIONS = frozenset(
    [
        *("avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
        *("amx_tile", "amx_int8", "amx_bf16"),
        *("neon", "dotprod", "i8mm", "bf16", "sve", "sve2"),
    ]
)
SAME_INSTRUCTIONS = {"asimd": "neon", "asimddp": "dotprod"}  # Linux has names of its own for these
LIBRARIES = ("numba", "transformers", "peft")  # beside torch: what numbers come from
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


def describe_hardware(device: torch.device) -> dict[str, Any]:
    """What numbers and seconds depend on beyond the processor's name: its instructions, and which host it was."""
    described = {
        "architecture": platform.machine(),
        **{name: _cpuinfo(line) for name, line in CPU_LINES.items()},
        "instructions": sorted(instructions() & TOLD_INSTRUCTIONS),
        "capability": torch.backends.cpu.get_cpu_capability(),
        **{name: version_of(name) for name in LIBRARIES},
        "onednn": onednn(),
        "host": host(),
    }
    if device.type == "cuda":
        described["device_capability"] = ".".join(map(str, torch.cuda.get_device_capability(device)))
        described["device_memory_gib"] = round(torch.cuda.get_device_properties(device).total_memory / 2**30)
        described["driver"], described["cuda"] = _driver(), torch.version.cuda
        described["cudnn"] = torch.backends.cudnn.version()
        described["cublas"] = version_of(f"nvidia-cublas-cu{str(torch.version.cuda).partition('.')[0]}")
    return described


def describe_processor() -> dict[str, str]:
    """What PyTorch takes this processor for, and its instructions of which that depends, each as a cell of a table."""
    return {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "instructions": " ".join(sorted(instructions() & TOLD_INSTRUCTIONS)),
    }


def version_of(package: str) -> str:
    """The installed version of `package`; empty where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def onednn() -> str:
    """The version of the library that multiplies matrices on most processors; empty where PyTorch names none."""
    found = re.search(r"MKL-DNN v([\d.]+)|oneDNN v([\d.]+)", torch.__config__.show())
    return found.group(found.lastindex) if found and found.lastindex else ""


def instructions() -> frozenset[str]:
    """The names of this processor's optional instructions, by one name on every system; none where it does not tell."""
    names = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return frozenset(SAME_INSTRUCTIONS.get(name, name) for name in names)


def host() -> str:
    """Twelve hexadecimal digits that tell this host from others and do not tell which it is; empty if it has no id."""
    try:
        identity = MACHINE_ID.read_text().strip()
    except OSError:
        return ""
    return hashlib.sha256(f"tightfit host {identity}".encode()).hexdigest()[:12] if identity else ""


@functools.cache
def commit() -> tuple[str, bool]:
    """The commit of the code and whether tracked files differ from it; ("", False) outside a git checkout.

    An installed package may lie in the checkout of something else, whose commit says nothing of it.
    """
    if not IS_CHECKOUT:
        return "", False
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
    command = ["git", "-C", str(CHECKOUT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(name: str) -> str:
    """What the first processor says under `name`; empty where there is no such line."""
    try:
        lines = [line.partition(":") for line in CPUINFO.read_text().splitlines()]
    except OSError:
        return ""
    return next((value.strip() for key, _, value in lines if key.strip() == name), "")


def _driver() -> str:
    """The version of NVIDIA's driver; empty where it does not tell."""
    try:
        found = re.search(r"\d+(\.\d+)+", DRIVER.read_text())
    except OSError:
        return ""
    return found.group() if found else ""
