import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.reference import integers as reference
from tightfit.numerics.integer_matmul import (
    convolution_input_error,
    convolution_weight_gradient,
    convolve,
    matmul,
    matmul_of_whole_tiles,
)

BACKENDS = ("int8", "float32", "reference")
SIZES = st.integers(1, 9)


def integers(seed: int, *shape: int) -> torch.Tensor:
    """int8 with many at the ends of the range."""
    drawn = torch.randint(-160, 161, shape, generator=torch.Generator().manual_seed(seed))
    return drawn.clamp(-127, 127).to(torch.int8)


@given(SIZES, SIZES, SIZES, st.integers(0, 99))
def test_every_backend_multiplies_like_python_integers(m: int, k: int, n: int, seed: int) -> None:
    left, right = integers(seed, m, k), integers(seed + 1, k, n)
    expected = reference.matmul(left.tolist(), right.tolist())
    assert [matmul(left, right, backend).tolist() for backend in BACKENDS] == [expected] * 3


@given(SIZES, SIZES, SIZES, st.integers(0, 99))
def test_filling_up_tiles_changes_no_product(m: int, k: int, n: int, seed: int) -> None:
    left, right = integers(seed, m, k), integers(seed + 1, k, n)
    assert torch.equal(matmul_of_whole_tiles(left, right), matmul(left, right, "reference"))


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
    for backend in BACKENDS:
        assert torch.equal(convolve(images, weight, backend).double(), output.detach())
        assert torch.equal(convolution_input_error(errors, weight, backend).double(), exact_images.grad)
        assert torch.equal(convolution_weight_gradient(images, errors, kernel, backend).double(), exact_weight.grad)


def test_sums_too_large_for_float32_are_still_exact() -> None:
    left, right = torch.full((1, 2001), 127, dtype=torch.int8), torch.full((2001, 1), 127, dtype=torch.int8)
    assert [matmul(left, right, backend).item() for backend in BACKENDS] == [2001 * 127 * 127] * 3
