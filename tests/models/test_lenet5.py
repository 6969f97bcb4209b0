import torch
from torch.nn import functional as F

from tightfit.models.lenet5 import lenet5
from tightfit.models.pooling import MaxPool2x2, max_of_slices


def test_maximum_of_slices_equals_the_stock_kernel_bit_for_bit() -> None:
    for height, width in [(28, 28), (14, 14), (7, 9)]:
        images = torch.randn(3, 2, height, width, generator=torch.Generator().manual_seed(0))
        assert torch.equal(max_of_slices(images), F.max_pool2d(images, 2))


def test_gradient_through_pooling_is_the_stock_one() -> None:
    images = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    ours, stock = images.clone().requires_grad_(), images.clone().requires_grad_()
    MaxPool2x2()(ours).square().sum().backward()
    F.max_pool2d(stock, 2).square().sum().backward()
    assert torch.equal(ours.grad, stock.grad)


def test_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second, other = lenet5(10, seed=1), lenet5(10, seed=1), lenet5(10, seed=2)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.fc1.weight, other.fc1.weight)


def test_logits_have_one_column_per_class() -> None:
    assert lenet5(classes=7, seed=0)(torch.zeros(2, 1, 28, 28)).shape == (2, 7)
