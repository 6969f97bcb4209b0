"""The real data sets by whichever route this machine has; these tests fetch them once if the cache lacks them."""

import pytest
import torch

from tightfit.datasets.batches import Batches, Normalization
from tightfit.datasets.dataset import Dataset
from tightfit.datasets.fashion_mnist import fashion_mnist
from tightfit.datasets.mnist import mnist
from tightfit.datasets.rotated import rotated

SETS = {"mnist": mnist, "fashion_mnist": fashion_mnist}
COUNTS = {
    "mnist": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "fashion_mnist": [6000] * 10,
}


@pytest.mark.parametrize("name", SETS)
def test_counts_classes_and_normalisation(name: str) -> None:
    dataset: Dataset = SETS[name]()
    assert dataset.train.inputs.shape == (60_000, 1, 28, 28)
    assert dataset.test.inputs.shape == (10_000, 1, 28, 28)
    assert dataset.train.labels.bincount().tolist() == COUNTS[name]
    pixels = dataset.train.inputs.double() / 255
    assert round(pixels.mean().item(), 4) == dataset.mean
    assert round(pixels.std().item(), 4) == dataset.std
    normal = Normalization(dataset.mean, dataset.std)(dataset.train.inputs[:1000])
    torch.testing.assert_close(normal, ((pixels[:1000] - dataset.mean) / dataset.std).float(), rtol=1e-5, atol=1e-5)


def test_held_out_examples_are_the_end_of_the_training_set_and_the_test_set_is_not_touched() -> None:
    whole, tuning = mnist(), mnist(held_out=10_000)
    assert tuning.scored == "validation"
    assert torch.equal(tuning.train.labels, whole.train.labels[:50_000])
    assert torch.equal(tuning.test.inputs, whole.train.inputs[50_000:])


def test_rotated_set_is_a_fixed_draw_of_1024_and_1024() -> None:
    first, again = (rotated("r", "mnist", 30.0) for _ in range(2))
    other = rotated("r", "mnist", 30.0, subset_seed=1)
    assert (len(first.train), len(first.test)) == (1024, 1024)
    assert first.checksums == again.checksums
    assert first.checksums["rotated train"] != other.checksums["rotated train"]
    assert first.details == {
        "upright": "mnist",
        "angle": 30.0,
        "interpolation": "bilinear, zero fill",
        "subset_seed": 0,
    }


def test_validation_of_the_rotated_set_is_disjoint_from_its_training_images() -> None:
    tuning = rotated("r", "mnist", 0.0, held_out=1024)
    test = rotated("r", "mnist", 0.0)
    assert torch.equal(tuning.train.inputs, test.train.inputs)
    trained = {image.numpy().tobytes() for image in tuning.train.inputs}
    assert not any(image.numpy().tobytes() in trained for image in tuning.test.inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"upright": "cifar"}, "upright='cifar' is not a set that can be rotated"),
        ({"upright": "mnist", "angle": float("nan")}, "angle=nan is not a number of degrees"),
        ({"upright": "mnist", "train_size": 70_000}, "70000 images asked of the train split"),
    ],
)
def test_impossible_draws_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rotated("r", **{"angle": 30.0, **options})  # type: ignore[arg-type]


def test_holding_out_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="held_out=60000 but mnist has 60000"):
        mnist(held_out=60_000)


@pytest.mark.parametrize("limit", ["train_limit", "test_limit"])
def test_limit_that_leaves_nothing_is_refused(limit: str) -> None:
    with pytest.raises(ValueError, match=f"{limit}=0 leaves nothing; choose 1 or more"):
        mnist(**{limit: 0})  # type: ignore[arg-type]


def test_an_epoch_shows_every_example_once_in_an_order_of_its_own() -> None:
    dataset = mnist(train_limit=640)
    batches = Batches(dataset, batch_size=32, seed=0)
    epochs = [torch.cat([batches.batch(20 * epoch + step)[1] for step in range(20)]) for epoch in range(2)]
    assert all(torch.equal(labels.sort().values, dataset.train.labels.sort().values) for labels in epochs)
    assert not torch.equal(*epochs)


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    dataset = mnist(train_limit=640)
    batches, fresh = (Batches(dataset, batch_size=32, seed=5) for _ in range(2))
    for step in range(45):
        batches.batch(step)
    assert torch.equal(batches.batch(3)[0], fresh.batch(3)[0])
