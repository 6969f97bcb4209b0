import math

import pytest
import torch

from tightfit.datasets.rotated import rotate


def images(seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (3, 1, 28, 28), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_no_angle_changes_nothing() -> None:
    assert torch.equal(rotate(images(), 0.0), images())


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_counter_clockwise_and_exact(quarters: int) -> None:
    assert torch.equal(rotate(images(), 90.0 * quarters), torch.rot90(images(), quarters, dims=(-2, -1)))


def test_images_need_not_be_square() -> None:
    wide = images()[..., :21, :]
    assert torch.equal(rotate(wide, 180.0), torch.rot90(wide, 2, dims=(-2, -1)))


@pytest.mark.parametrize(("source", "target", "eighths"), [((12, 13), (13, 13), 1), ((15, 15), (14, 15), 3)])
def test_pixels_half_way_between_two_bytes_go_up_whatever_error_the_processor_adds(
    source: tuple[int, int], target: tuple[int, int], eighths: int
) -> None:
    """At 30° the roots cancel for some pixels, such as (√3−1)/4 · (√3+1)/4 = 1/8, so that multiples of 4 make ties."""
    values = range(4, 256, 4)
    upright = torch.zeros(len(values), 1, 28, 28, dtype=torch.uint8)
    upright[:, 0, *source] = torch.tensor(values, dtype=torch.uint8)
    turned = rotate(upright, 30.0)[:, 0, *target]
    assert turned.tolist() == [(value * eighths + 4) // 8 for value in values]


def test_thirty_degrees_equal_bilinear_interpolation_by_hand() -> None:
    """The slow twin: for each pixel, where it comes from and its four neighbours."""
    image = images()[0, 0].double()
    result = torch.zeros(28, 28, dtype=torch.float64)
    cosine, sine = math.cos(math.radians(30)), math.sin(math.radians(30))
    for row in range(28):
        for column in range(28):
            x, y = column - 13.5, row - 13.5
            from_column, from_row = cosine * x - sine * y + 13.5, sine * x + cosine * y + 13.5
            for r in (math.floor(from_row), math.floor(from_row) + 1):
                for c in (math.floor(from_column), math.floor(from_column) + 1):
                    if 0 <= r < 28 and 0 <= c < 28:
                        weight = (1 - abs(from_row - r)) * (1 - abs(from_column - c))
                        result[row, column] += weight * image[r, c]
    assert (rotate(images(), 30.0)[0, 0].double() - result).abs().max() <= 0.5 + 1e-6  # rounding to whole pixels
