import pytest
import torch

from tightfit.memory.measured import peak_live_bytes


def test_peak_counts_what_lives_at_the_same_time_and_no_more() -> None:
    def work() -> None:
        first = torch.ones(1000)  # 4000 bytes
        second = first + 1  # 8000 alive
        del first
        torch.ones(500) + second[:500]  # 4000 + 2000 + 2000 alive

    assert peak_live_bytes(work, resident=()) == 8000


def test_resident_tensors_count_and_inputs_do_not() -> None:
    weights, inputs = torch.ones(10), torch.ones(1000)
    assert peak_live_bytes(lambda: inputs * 1.0, resident=[weights], uncounted=[inputs]) == 40 + 4000


def test_views_and_work_in_place_cost_nothing() -> None:
    weights = torch.ones(1000)

    def work() -> None:
        weights.view(10, 100).add_(1.0)
        weights[:500].mul_(2.0)

    assert peak_live_bytes(work, resident=[weights]) == 4000


def test_tensors_kept_for_backward_are_seen() -> None:
    weights = torch.ones(1000, requires_grad=True)

    def work() -> None:
        (weights.exp().exp().sum()).backward()

    forward_only = peak_live_bytes(lambda: weights.detach().exp().exp().sum(), resident=[weights])
    assert peak_live_bytes(work, resident=[weights]) > forward_only


@pytest.mark.parametrize("threads", [1, 2])
def test_the_count_does_not_depend_on_threads(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    left, right = torch.ones(64, 64), torch.ones(64, 64)
    try:
        assert peak_live_bytes(lambda: left @ right @ left, resident=[left, right]) == 4 * 64 * 64 * 4
    finally:
        torch.set_num_threads(before)
