from itertools import pairwise

import pytest
import torch

from tightfit.models.pointnet import FEATURES, HEAD, MaxOverPoints, PointNorm, pointnet


def clouds(count: int = 4, points: int = 16) -> torch.Tensor:
    return torch.randn(count, points, 3, generator=torch.Generator().manual_seed(0))


def test_equals_convolutions_of_width_1_as_others_write_it() -> None:
    """The usual way: channels second, Conv1d and BatchNorm1d along the points."""
    model, x = pointnet(classes=5, seed=0), clouds().transpose(1, 2)  # (b, 3, n)
    layers = dict(model.named_children())
    for place, (inputs, outputs) in enumerate(pairwise(FEATURES), start=1):
        convolution, norm = torch.nn.Conv1d(inputs, outputs, 1), torch.nn.BatchNorm1d(outputs)
        convolution.weight.data = layers[f"feature{place}"].weight.data.unsqueeze(2)
        convolution.bias.data = layers[f"feature{place}"].bias.data
        x = torch.relu(norm(convolution(x)))
    x = x.max(dim=2).values
    for place in range(1, len(HEAD)):
        x = torch.relu(layers[f"fc{place}"](x))
    torch.testing.assert_close(model(clouds()), layers["fc3"](x), rtol=1e-4, atol=1e-5)  # sums in another order


def test_neither_the_order_of_the_points_nor_their_repetition_changes_a_scored_cloud() -> None:
    model, x = pointnet(5, seed=0).eval(), clouds()
    torch.testing.assert_close(model(x.flip(1)), model(x))
    torch.testing.assert_close(model(torch.cat([x, x], dim=1)), model(x))


def test_maximum_with_and_without_gradients_is_the_same() -> None:
    x = clouds().requires_grad_()
    with torch.no_grad():
        at_rest = MaxOverPoints()(x)
    assert torch.equal(MaxOverPoints()(x), at_rest)
    MaxOverPoints()(x).sum().backward()
    assert torch.equal(x.grad.sum(dim=1), torch.ones(4, 3))


def test_normalisation_is_over_all_points_of_all_clouds() -> None:
    normal = PointNorm(3)(5 + 2 * clouds())
    assert normal.mean(dim=(0, 1)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert normal.var(dim=(0, 1), correction=0).tolist() == pytest.approx([1, 1, 1], abs=1e-3)


def test_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second, other = pointnet(10, seed=1), pointnet(10, seed=1), pointnet(10, seed=2)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.fc1.weight, other.fc1.weight)
