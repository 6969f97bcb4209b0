"""What every compiled sweep on the CPU starts from: the compiler, and tensors as arrays. Needs numba (extra `fast`).

Compiled code is kept with the user's other caches, for the folder of an installed package may be read-only.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

Array = np.ndarray[Any, Any]

settings: Any = numba.config
if not settings.CACHE_DIR:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    settings.CACHE_DIR = str(caches / "tightfit" / "numba")


def has_data(tensor: torch.Tensor) -> bool:
    """False for tensors of which only shape and type exist (meta, fake): there is nothing to sweep over."""
    return type(tensor) in (torch.Tensor, torch.nn.Parameter)


def as_array(tensor: torch.Tensor) -> Array:
    """The memory of `tensor`; bfloat16, which NumPy lacks, as the integers of its bits."""
    tensor = tensor.detach()
    return tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


@intrinsic
def _pointer(_: Any, address: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


pointer: Any = _pointer


@njit(inline="always")
def array_at(address: Any, size: Any, dtype: Any) -> Any:
    """In compiled code, the memory of `size` numbers of `dtype` from `address` on."""
    return carray(pointer(address), size, dtype)


LINE_BYTES = 64  # that a processor fetches at once, or a multiple of them
TO_WRITE, KEEP_NEAR, DATA = 1, 3, 1  # what LLVM's prefetch is told


@intrinsic
def _prefetch(_: Any, address: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        hint = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, hint, hint, hint])
        function = builder.module.declare_intrinsic("llvm.prefetch", [cgutils.voidptr_t], kind)
        place = builder.inttoptr(arguments[0], cgutils.voidptr_t)
        builder.call(function, [place, hint(TO_WRITE), hint(KEEP_NEAR), hint(DATA)])

    return types.void(address), generate


prefetch: Any = _prefetch


@njit(inline="always")
def fetch(address: Any, size: Any) -> None:
    """In compiled code, have `size` bytes brought near that will be changed soon, while other work goes on."""
    for start in range(0, size, LINE_BYTES):
        prefetch(address + np.uint64(start))


BLOCK_BYTES = 16  # of one vector register, which every processor has


@intrinsic
def _copy_block(_: Any, target: Any, source: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        block = ir.VectorType(ir.IntType(8), BLOCK_BYTES).as_pointer()
        to, start = (builder.inttoptr(address, block) for address in arguments)
        read = builder.load(start)
        read.align = 1  # byte: it may begin anywhere
        builder.store(read, to).align = 1

    return types.void(target, source), generate


copy_block: Any = _copy_block


@njit(inline="always")
def copy_run(target: Any, source: Any, size: Any) -> None:
    """In compiled code, copy `size` bytes from address to address, and what follows them up to a whole block.

    For short runs, one after the other, which loops over bytes take longer to begin than to copy: each run mends what
    the one before wrote too much.
    """
    for start in range(0, size, BLOCK_BYTES):
        copy_block(target + np.uint64(start), source + np.uint64(start))
