"""Sweeps that read their moves from device memory give the bits of those that the host tells."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from tightfit.numerics.noise.counter_noise import TABLES
from tightfit.numerics.noise.device_sweep import DeviceMoves, DeviceSweep, obstacle_to_device_sweep
from tightfit.numerics.noise.perturbation import Perturbation
from tightfit.numerics.noise.streams import CounterStream
from tightfit.records.machine import has_triton

RUNS, SKIPPED = 3, (0, 1, 2)
SCALES = [[1e-3, -2e-3, 3e4], [-2e-3, 1e-3, 7e-4]]  # (m, k)
COUNTERS = [[5, 2**40, 0], [6, 1, 9]]


def perturbations(noise: str, dtype: torch.dtype, device: str = "cpu") -> list[Perturbation]:
    """Of runs with seeds of their own; tensors of less than a word, of several programs, and of a part of one."""
    made = []
    for run in range(RUNS):
        generator = torch.Generator().manual_seed(run)
        sizes = {"few": (3,), "many": (50, 101), "some": (2048,)}
        tensors = {name: 0.02 * torch.randn(size, generator=generator) for name, size in sizes.items()}
        named = [(n, nn.Parameter(t.to(device, dtype), requires_grad=False)) for n, t in tensors.items()]
        made.append(Perturbation(named, run, noise=noise, kernel="portable"))
    return made


def moves(device: str = "cpu") -> DeviceMoves:
    scales, counters = torch.tensor(SCALES, device=device), torch.tensor(COUNTERS, device=device)
    return DeviceMoves(scales, counters, torch.tensor(SKIPPED, device=device))


def check_bits(device: str, triton_on_cpu: bool = False) -> None:
    """Raise AssertionError unless weights end where `add_counted_` takes them."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for noise in TABLES:
            expected, swept = perturbations(noise, dtype, device), perturbations(noise, dtype, device)
            for run, perturbation in enumerate(expected):
                each = [(m[run], c[run]) for m, c in zip(moves().scales.tolist(), COUNTERS, strict=True)]
                perturbation.add_counted_(each[SKIPPED[run] :])
            sweep = sweep_by_triton(swept) if triton_on_cpu else DeviceSweep(swept)
            (sweep.add_(*vars(moves()).values()) if triton_on_cpu else sweep.add_(moves(device)))
            for one, other in zip(expected, swept, strict=True):
                for a, b in zip(one.streams.values(), other.streams.values(), strict=True):
                    torch.testing.assert_close(a.weights, b.weights, rtol=0, atol=0, equal_nan=True)


def sweep_by_triton(swept):  # for Triton's interpreter, which takes tensors of the CPU
    from tightfit.numerics.noise.triton_sweep import TritonSweep

    streams = [(run, each) for run, one in enumerate(swept) for each in one.streams.values()]
    assert all(isinstance(each, CounterStream) for _, each in streams)
    return TritonSweep([(run, each.weights, each.keys) for run, each in streams], streams[0][1].table)


def test_moves_in_device_memory_take_weights_to_the_same_bits() -> None:
    check_bits("cpu")


@pytest.mark.cuda  # Triton's kernel as it is compiled; its interpreter is held to the same below
def test_moves_in_device_memory_take_weights_to_the_same_bits_on_a_gpu() -> None:
    check_bits("cuda")


@pytest.mark.skipif(not has_triton(), reason="Triton comes with PyTorch's builds for CUDA")
def test_one_launch_for_all_tensors_gives_the_same_bits_by_tritons_interpreter() -> None:
    command, environment = [sys.executable, "-m", "tests.numerics.test_device_sweep"], {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not has_triton(), reason="Triton comes with PyTorch's builds for CUDA")
@pytest.mark.parametrize(("element", "width", "field_bits"), [("fp32", 1, 16), ("bf16", 8, 8)])
def test_compiled_for_a_gpu_the_launch_fuses_no_product_and_moves_whole_words(element, width, field_bits) -> None:
    """What the interpreter cannot tell. Compiling needs no device."""
    import triton.language as tl
    from triton import compile as compiled
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from tightfit.numerics.noise.triton_sweep import HOW_COMPILED, _add_moves

    types = {"plan": "*i64", "row_of_program": "*i32", "table": "*fp32", "scales": "*fp32"}
    types |= {"counters": "*i64", "skipped": "*i64", "runs": "i32"}
    elements = {"fp32": tl.float32, "bf16": tl.bfloat16}
    constants = {"moves": 2, "element": elements[element], "width": width, "field_bits": field_bits}
    constants |= {"numbers": 2048, "aligned": True}
    source = ASTSource(_add_moves, types | dict.fromkeys(constants, "constexpr"), constants)
    code = compiled(source, target=GPUTarget("cuda", 90, 32), options=HOW_COMPILED).asm["ptx"]
    assert "fma" not in code
    assert "st.global.v4" in code


def test_noise_that_the_host_draws_cannot_be_moved_from_device_memory() -> None:
    weights = [("w", nn.Parameter(torch.zeros(4), requires_grad=False))]
    assert "PyTorch's generator" in obstacle_to_device_sweep(Perturbation(weights, 0, noise="torch_gaussian"))
    assert not obstacle_to_device_sweep(Perturbation(weights, 0))


if __name__ == "__main__":
    check_bits("cpu", triton_on_cpu=True)
