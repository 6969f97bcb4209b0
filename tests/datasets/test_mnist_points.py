import pytest
import torch

from tightfit.datasets.dataset import Examples
from tightfit.datasets.mnist import mnist
from tightfit.datasets.mnist_points import mnist_points, point_sets


def image(*pixels: tuple[int, int, int]) -> Examples:
    """One 28×28 image, black but for (row, column, brightness)."""
    inputs = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    for row, column, brightness in pixels:
        inputs[0, 0, row, column] = brightness
    return Examples(inputs, torch.tensor([7]))


def test_points_are_right_up_and_bright() -> None:
    sets = point_sets(image((0, 0, 255), (27, 27, 204), (5, 5, 10)), points=2, threshold=127)
    assert sets.inputs[0].tolist() == [[-1, 1, 1], [1, -1, pytest.approx(0.8)]]
    assert sets.labels.tolist() == [7]


def test_too_few_pixels_are_repeated_evenly_and_too_many_thinned_evenly() -> None:
    few = point_sets(image((0, 0, 255), (0, 27, 255)), points=6, threshold=127)
    assert few.inputs[0, :, 0].tolist() == [-1, -1, -1, 1, 1, 1]
    row = [(0, column, 255) for column in range(28)]
    many = point_sets(image(*row), points=4, threshold=127)
    assert (many.inputs[0, :, 0] * 13.5 + 13.5).round().tolist() == [0, 7, 14, 21]


def test_every_image_is_only_its_own_pixels() -> None:
    """The slow twin: pixel by pixel."""
    dataset = mnist_points(points=50, train_limit=20)
    for cloud, picture in zip(dataset.train.inputs, mnist(train_limit=20).train.inputs, strict=True):
        inked = [divmod(p, 28) for p in range(784) if picture.flatten()[p] > 127]
        chosen = [inked[i * len(inked) // 50] for i in range(50)]
        expected = [[2 * c / 27 - 1, 1 - 2 * r / 27, picture[0, r, c].item() / 255] for r, c in chosen]
        torch.testing.assert_close(cloud, torch.tensor(expected))


def test_counts_shapes_and_held_out_are_those_of_mnist() -> None:
    dataset = mnist_points(points=8, held_out=10_000)
    assert dataset.train.inputs.shape == (50_000, 8, 3)
    assert (len(dataset.test), dataset.scored, dataset.classes) == (10_000, "validation", 10)
    assert dataset.details["points"] == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": 0}, "points=0 leaves nothing; choose 1 or more"),
        ({"threshold": 255}, "threshold=255 leaves image 0 without a point"),
    ],
)
def test_impossible_point_sets_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mnist_points(train_limit=3, test_limit=3, **options)
