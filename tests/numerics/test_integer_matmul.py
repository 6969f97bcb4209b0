import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.reference import integers as reference
from tightfit.memory.measured import peak_live_bytes
from tightfit.numerics.int8 import arithmetic
from tightfit.numerics.int8 import matmul as integer_matmul
from tightfit.numerics.int8.matmul import (
    BACKENDS,
    TERMS_EXACT_IN_FLOAT32,
    Backend,
    bands,
    chosen,
    convolution_input_error,
    convolution_weight_gradient,
    convolve,
    int8_is_exact,
    matmul,
    matmul_of_whole_tiles,
    tile_of,
    whole_tiles,
)
from tightfit.numerics.speed import by_instructions, has_fast_int8, is_faster_when_timed

SIZES = st.integers(1, 9)
EXACT = [backend for backend in BACKENDS if backend != "int8" or int8_is_exact()]  # here


def integers(seed: int, *shape: int) -> torch.Tensor:
    """int8 with many at the ends of the range."""
    drawn = torch.randint(-160, 161, shape, generator=torch.Generator().manual_seed(seed))
    return drawn.clamp(-127, 127).to(torch.int8)


@given(SIZES, SIZES, SIZES, st.integers(0, 99))
def test_every_backend_multiplies_like_python_integers(m: int, k: int, n: int, seed: int) -> None:
    left, right = integers(seed, m, k), integers(seed + 1, k, n)
    expected = reference.matmul(left.tolist(), right.tolist())
    assert [matmul(left, right, backend).tolist() for backend in EXACT] == [expected] * len(EXACT)


def as_on_cuda(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The product, where CUDA's `torch._int_mm` would take the two as they lie in memory."""
    assert len(left) > 16
    assert not any(side % 8 for side in (*left.shape, *right.shape))
    assert left.is_contiguous()
    assert right.t().is_contiguous()
    return matmul(left, right, "reference")


@given(SIZES, SIZES, SIZES, st.integers(0, 99))
def test_cuda_is_given_whole_tiles_that_change_no_product(m: int, k: int, n: int, seed: int) -> None:
    left, right = integers(seed, m, 8 * k), integers(seed + 1, 8 * k, n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "_int_mm", as_on_cuda)
        for a, b in ((left, right), (integers(seed, 8 * k, m).t(), integers(seed, n, 8 * k).t())):
            assert torch.equal(matmul_of_whole_tiles(a, b), matmul(a, b, "reference"))


@pytest.mark.parametrize(
    ("sides", "whole"),
    [
        ((200, 120, 88), (200, 120, 88)),
        ((256, 84, 10), (256, 88, 16)),
        ((7168, 160, 168), (7168, 160, 168)),
        ((3584, 540, 224), (3584, 544, 224)),
        ((32, 784, 120), (32, 784, 120)),
        ((1, 1, 1), (24, 8, 8)),
        ((16, 8, 8), (24, 8, 8)),
        ((17, 9, 8), (24, 16, 8)),
    ],
)
def test_sides_are_filled_up_to_what_cuda_takes(sides: tuple[int, int, int], whole: tuple[int, int, int]) -> None:
    assert whole_tiles(*sides) == whole


@pytest.mark.cuda
@pytest.mark.parametrize("sides", [(200, 120, 88), (256, 84, 10), (7168, 160, 168), (3584, 540, 224), (1, 1, 1)])
def test_products_on_a_gpu_are_those_of_the_reference(sides: tuple[int, int, int]) -> None:
    m, k, n = sides
    left, right = integers(0, m, k), integers(1, k, n)
    expected = matmul(left, right, "reference")
    for backend in ("int8", "float32"):
        assert torch.equal(matmul(left.cuda(), right.cuda(), backend).cpu(), expected)
        assert torch.equal(matmul(left.t().contiguous().t().cuda(), right.cuda(), backend).cpu(), expected)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 3, 5]), st.integers(0, 99))
@settings(max_examples=30)
def test_every_backend_convolves_alike_forward_and_backward(b: int, c: int, o: int, kernel: int, seed: int) -> None:
    images, weight, errors = (
        integers(seed, b, c, 6, 7),
        integers(seed + 1, o, c, kernel, kernel),
        integers(seed, b, o, 6, 7),
    )
    exact_images, exact_weight = images.double().requires_grad_(), weight.double().requires_grad_()
    output = F.conv2d(exact_images, exact_weight, padding=kernel // 2)
    output.backward(errors.double())  # whole numbers below 2**53 are exact
    for backend in EXACT:
        assert torch.equal(convolve(images, weight, backend).double(), output.detach())
        assert torch.equal(convolution_input_error(errors, weight, backend).double(), exact_images.grad)
        assert torch.equal(convolution_weight_gradient(images, errors, kernel, backend).double(), exact_weight.grad)


SHAPES = [(2, 1, 28, 28), (2, 6, 14, 14), (1, 17, 5, 3), (3, 2, 1, 7), (1, 1, 1, 1), (2, 5, 4, 12)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_bands_are_windows_of_the_padded_images(shape: tuple[int, ...], kernel: int) -> None:
    """Compiled and by operators, from images in either order of memory."""
    images, margin = integers(0, *shape), kernel // 2
    tile = tile_of(images, kernel)
    padded = F.pad(images, (margin, margin, margin, margin)).permute(0, 2, 3, 1)
    windows = padded.unfold(1, kernel, 1).unfold(2, tile + kernel - 1, tile)  # (b, h, w / tile, c, k, tile + k − 1)
    expected = windows.permute(0, 1, 2, 4, 5, 3).reshape(shape[0] * shape[2] * shape[3] // tile, -1)
    for compiled in (arithmetic.compiled, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(arithmetic, "compiled", compiled)
            for order in (torch.contiguous_format, torch.channels_last):
                assert torch.equal(bands(images.contiguous(memory_format=order), kernel, tile), expected)


@pytest.mark.parametrize(
    ("width", "kernel", "tile"), [(28, 5, 7), (14, 5, 7), (7, 3, 7), (12, 3, 3), (4, 5, 4), (3, 1, 1)]
)
def test_a_band_has_the_fewest_outputs_that_leave_its_matrix_half_full(
    width: int, kernel: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.empty(1, 1, 1, width, dtype=torch.int8)
    assert tile_of(images, kernel) == tile
    assert tile_of(images.to("meta"), kernel) == width
    monkeypatch.setattr(arithmetic, "compiled", None)
    assert tile_of(images, kernel) == width


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_convolution_returns_lies_pixel_by_pixel(backend: Backend, shape: tuple[int, ...]) -> None:
    """So the sweep after it, and the bands of the next, copy nothing first."""
    convolved = convolve(integers(0, *shape), integers(1, 6, shape[1], 5, 5), backend)
    assert convolved.permute(0, 2, 3, 1).is_contiguous()


@pytest.mark.parametrize("terms", [TERMS_EXACT_IN_FLOAT32, TERMS_EXACT_IN_FLOAT32 + 1, 2001, 4 * 1040 + 3])
def test_sums_too_large_for_float32_are_still_exact(terms: int) -> None:
    left, right = torch.full((1, terms), 127, dtype=torch.int8), torch.full((terms, 1), 127, dtype=torch.int8)
    assert [matmul(left, right, backend).item() for backend in EXACT] == [terms * 127 * 127] * len(EXACT)
    left, right = integers(0, 3, terms), integers(1, terms, 5)
    assert torch.equal(matmul(left, right, "float32"), matmul(left, right, "reference"))


# What /proc/cpuinfo calls the instructions of a Zen 5, a Zen 3, an Alder Lake, a Skylake-X and a Neoverse.
@pytest.mark.parametrize(
    ("names", "capability", "expected"),
    [
        ("sse2 avx2 avx512f avx512_vnni avx_vnni", "AVX512", True),
        ("sse2 avx2 avx512f amx_int8", "AVX512", True),
        ("sse2 avx2", "AVX2", False),
        ("sse2 avx2 avx_vnni", "AVX2", None),
        ("sse2 avx2 avx512f", "AVX512", None),
        ("sse2 avx2 avx512f avx512_vnni", "AVX2", None),
        ("neon dotprod i8mm", "DEFAULT", None),
        ("", "DEFAULT", None),
    ],
)
def test_instructions_tell_the_faster_backend_or_leave_it_to_a_timing(
    names: str, capability: str, expected: bool | None
) -> None:
    assert by_instructions(frozenset(names.split()), capability) is expected


def test_timing_disturbs_no_count_of_tensors_and_is_done_once() -> None:
    assert peak_live_bytes(is_faster_when_timed, resident=()) == 0
    assert has_fast_int8() is has_fast_int8()


@pytest.mark.parametrize("fast", [True, False])
def test_auto_is_the_faster_backend_and_others_are_what_they_say(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integer_matmul, "has_fast_int8", lambda: fast)
    monkeypatch.setattr(integer_matmul, "int8_is_exact", lambda: True)
    assert chosen("auto", torch.device("cpu")) == ("int8" if fast else "float32")
    assert chosen("auto", torch.device("cuda")) == "int8"
    assert [chosen(backend, torch.device("cpu")) for backend in BACKENDS[1:]] == list(BACKENDS[1:])


def saturating(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """`torch._int_mm` of a processor without VNNI, step by step: see `int8_is_exact`."""
    unsigned = left.long() + 128
    products = unsigned[:, :, None] * right.long()[None]  # (m, k, n)
    pairs = F.pad(products, (0, 0, 0, products.shape[1] % 2)).unflatten(1, (-1, 2)).sum(2)
    return (pairs.clamp(-(2**15), 2**15 - 1).sum(1) - 128 * right.long().sum(0)).to(torch.int32)


def test_int8_that_saturates_is_found_out_refused_and_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    two = torch.full((1, 2), 127, dtype=torch.int8)
    assert saturating(two, two.t()).item() == 255
    small = torch.full((3, 6), 7, dtype=torch.int8)
    assert torch.equal(saturating(small, small.t()), matmul(small, small.t(), "reference"))
    monkeypatch.setattr(torch, "_int_mm", saturating)
    assert not int8_is_exact.__wrapped__()
    monkeypatch.setattr(integer_matmul, "int8_is_exact", lambda: False)
    monkeypatch.setattr(integer_matmul, "has_fast_int8", lambda: True)
    cpu = torch.device("cpu")
    assert [chosen(backend, cpu) for backend in ("auto", "float32", "reference")] == ["float32", "float32", "reference"]
    for multiply in (lambda: matmul(two, two.t(), "int8"), lambda: chosen("int8", cpu)):
        with pytest.raises(ValueError, match=r"backend=int8 but .* has no VNNI; choose backend=auto or float32"):
            multiply()
    assert chosen("int8", torch.device("cuda")) == "int8"


MULTIPLIED = """
import torch
from tightfit.numerics.int8.matmul import matmul
left = torch.randint(-127, 128, (37, 65), generator=torch.Generator().manual_seed(0)).to(torch.int8)
expected = matmul(left, left.t(), "reference")
assert torch.equal(matmul(left, left.t(), "auto"), expected)
try:
    assert torch.equal(matmul(left, left.t(), "int8"), expected)
except ValueError as error:
    assert "no VNNI" in str(error)
"""


@pytest.mark.parametrize("instructions", ["AVX2", "AVX2_VNNI", "AVX512_CORE"])
def test_int8_is_right_or_refused_whatever_instructions_there_are(instructions: str) -> None:
    limited = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions}
    done = subprocess.run([sys.executable, "-c", MULTIPLIED], env=limited, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_trying_int8_disturbs_no_count_of_tensors() -> None:
    assert peak_live_bytes(int8_is_exact.__wrapped__, resident=()) == 0
