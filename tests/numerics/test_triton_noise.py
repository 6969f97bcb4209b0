"""The kernel for CUDA by Triton's interpreter, in a process of its own: it has to be chosen before Triton is imported.

Triton comes with PyTorch's builds for CUDA. Without it what can be held to is that nobody gets that kernel.
"""

import os
import subprocess
import sys
from itertools import product
from types import SimpleNamespace

import pytest
import torch

from tightfit.numerics.noise import streams
from tightfit.numerics.noise.counter_noise import TABLES, Kernel, portable_work, reference_work
from tightfit.numerics.noise.streams import choose_kernel
from tightfit.records.machine import has_triton

KEY, ROUNDING = (0xDEADBEEF, 2**64 - 3), (2**63, 7)


class OnCuda:
    """As much of a tensor on another device as the choice of a kernel looks at."""

    device, dtype = torch.device("cuda"), torch.float32


def test_bits_are_those_of_the_reference_or_triton_is_not_there() -> None:
    if not has_triton():
        with pytest.raises(ValueError, match="kernel='fused' but triton is not installed; pip install triton"):
            choose_kernel("fused", OnCuda())
        return
    command, environment = [sys.executable, "-m", "tests.numerics.test_triton_noise"], {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not has_triton(), reason="Triton comes with PyTorch's builds for CUDA")
def test_compiled_code_rounds_products_before_they_are_added() -> None:
    """What the interpreter cannot tell: a fused product and sum would be other bits. Compiling needs no device."""
    from triton import compile as compiled
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from tightfit.numerics.noise.triton_noise import HOW_COMPILED, _add

    types = {"source": "*fp32", "target": "*fp32", "table": "*fp32", "scale": "fp32", "size": "i64"}
    types |= dict.fromkeys(("low", "high", "rounding_low", "rounding_high"), "i64")
    constants = {"width": 1, "field_bits": 16, "numbers": 2048, "stochastically": False}
    source = ASTSource(_add, types | dict.fromkeys(constants, "constexpr"), constants)
    code = compiled(source, target=GPUTarget("cuda", 90, 32), options=HOW_COMPILED).asm["ptx"]
    assert "mul" in code
    assert "fma" not in code


def test_with_triton_cuda_gets_the_fused_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(triton_work=object())
    monkeypatch.setattr(streams, "has_triton", lambda: True)
    monkeypatch.setitem(sys.modules, "tightfit.numerics.noise.triton_noise", module)
    assert choose_kernel("auto", OnCuda()) is module.triton_work


def test_without_triton_cuda_gets_the_portable_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "has_triton", lambda: False)
    assert choose_kernel("auto", OnCuda()) is portable_work


def check_bits(kernel: Kernel) -> None:
    """Raise AssertionError unless `kernel` and the reference agree, in 16 bits about every number."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        weights = 0.02 * torch.randn(5001, generator=torch.Generator().manual_seed(0))
        every = torch.arange(2**16).to(torch.uint16).view(dtype) if dtype != torch.float32 else weights
        for source in (weights.to(dtype), every):
            for table, scale in product(TABLES.values(), (2.0**-26, 1e-3, 3e4)):
                for rounding in (None, ROUNDING):
                    expected, moved = torch.empty_like(source), torch.empty_like(source)
                    for work in (reference_work, kernel):
                        target = expected if work is reference_work else moved
                        for piece in work(source, target, table, scale, KEY, rounding):
                            piece()
                    torch.testing.assert_close(moved, expected, rtol=0, atol=0, equal_nan=True)


if __name__ == "__main__":
    from tightfit.numerics.noise.triton_noise import triton_work

    check_bits(triton_work)
