"""Which narrow numbers this processor multiplies sooner than float32 ones.

Without instructions for int8 a product takes some thirty times as long, without those for 16 bits four to six times.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import _disable_current_modes

from tightfit.records.machine import instructions

FAST, UNCERTAIN = {"avx512_vnni", "amx_int8"}, {"avx_vnni", "avx512f"}
# On x86 those of AVX-512 and AMX, the others on ARM.
FAST_16_BITS = {
    torch.bfloat16: {"avx512_bf16", "amx_bf16", "bf16"},
    torch.float16: {"avx512_fp16", "amx_fp16", "asimdhp"},
}
LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # by which oneDNN leaves instructions unused
SIDES, ROUNDS = (256, 400, 120), 3


@functools.cache
def has_fast_int8() -> bool:
    """Whether int8 products are the faster ones here."""
    known = told_of_int8()
    return is_faster_when_timed() if known is None else known


def told_of_int8() -> bool | None:
    """The same as far as the processor's instructions tell it."""
    return None if is_limited() else by_instructions(instructions(), torch.backends.cpu.get_cpu_capability())


def has_fast_16_bits(dtype: torch.dtype) -> bool:
    """Whether products of `dtype`, bfloat16 or float16, are the faster ones here.

    Never timed: other than for integers the answer changes bits, so it must be the same in every process.
    """
    return not is_limited() and names_16_bits(instructions(), torch.backends.cpu.get_cpu_capability(), dtype)


def names_16_bits(names: frozenset[str], capability: str, dtype: torch.dtype) -> bool:
    """Whether `names` has instructions for products of `dtype` that PyTorch, at its `capability`, uses."""
    return bool(names & FAST_16_BITS[dtype]) and (capability.startswith("AVX512") or "sse2" not in names)


def is_limited() -> bool:
    return any(name in os.environ for name in LIMITS)


def by_instructions(names: frozenset[str], capability: str) -> bool | None:
    """Whether int8 products are fast on a processor of these `names`; None where they do not tell.

    capability: PyTorch's word for the widest of them that it uses.
    """
    if names & FAST and capability.startswith("AVX512"):
        return True
    return False if "sse2" in names and not names & (FAST | UNCERTAIN) else None


def is_faster_when_timed() -> bool:
    """The same by timing one product either way. What watches operators does not see it."""
    rows, inner, columns = SIDES
    with _disable_current_modes():
        left = torch.ones(rows, inner, dtype=torch.int8)
        right = torch.ones(inner, columns, dtype=torch.int8)
        return seconds(lambda: torch._int_mm(left, right)) < seconds(lambda: left.float() @ right.float())


def seconds(work: Callable[[], object]) -> float:
    """The least time that `work` takes, after one go to warm up."""
    times = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times[1:])
