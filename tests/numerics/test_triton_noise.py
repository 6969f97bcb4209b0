"""The kernel for CUDA by Triton's interpreter, in a process of its own: it has to be chosen before Triton is imported.

Triton comes with PyTorch's builds for CUDA. Without it what can be held to is that nobody gets that kernel.
"""

import os
import subprocess
import sys

import pytest
import torch

from tightfit.numerics.noise import perturbation
from tightfit.numerics.noise.counter_noise import TABLES, Kernel, portable_work, reference_work
from tightfit.numerics.noise.perturbation import choose_kernel
from tightfit.records.machine import has_triton

KEY, ROUNDING = (0xDEADBEEF, 2**64 - 3), (2**63, 7)


class OnCuda:
    """As much of a tensor on another device as the choice of a kernel looks at."""

    device, dtype = torch.device("cuda"), torch.float32


def test_bits_are_those_of_the_reference_or_triton_is_not_there() -> None:
    if not has_triton():
        with pytest.raises(ValueError, match="kernel='fused' but triton is not installed; pip install triton"):
            choose_kernel("fused", OnCuda(), 8)
        return
    command, environment = [sys.executable, "-m", "tests.numerics.test_triton_noise"], {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_triton_cuda_gets_the_portable_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perturbation, "has_triton", lambda: False)
    assert choose_kernel("auto", OnCuda(), 8) is portable_work


def check_bits(kernel: Kernel) -> None:
    """Raise AssertionError unless `kernel` and the reference agree, in 16 bits about every number."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        weights = 0.02 * torch.randn(5001, generator=torch.Generator().manual_seed(0))
        every = torch.arange(2**16).to(torch.uint16).view(dtype) if dtype != torch.float32 else weights
        for source in (weights.to(dtype), every):
            for table in (table * scale for table in TABLES.values() for scale in (2.0**-26, 1e-3, 3e4)):
                for rounding in (None, ROUNDING):
                    expected, moved = torch.empty_like(source), torch.empty_like(source)
                    for work in (reference_work, kernel):
                        target = expected if work is reference_work else moved
                        for piece in work(source, target, table, KEY, rounding):
                            piece()
                    torch.testing.assert_close(moved, expected, rtol=0, atol=0, equal_nan=True)


if __name__ == "__main__":
    from tightfit.numerics.noise.triton_noise import triton_work

    check_bits(triton_work)
