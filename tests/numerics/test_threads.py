from threading import Barrier, get_ident

import pytest
import torch

from tightfit.memory.measured import peak_live_bytes
from tightfit.numerics.threads import SHARE, share_out, threads_for


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_piece_is_done_once(threads: int) -> None:
    done = []
    share_out((lambda number=number: done.append(number) for number in range(100)), threads)
    assert sorted(done) == list(range(100))


def test_pieces_are_done_side_by_side_and_by_the_caller_too() -> None:
    together, workers = Barrier(2, timeout=60), set()

    def meet() -> None:
        together.wait()  # two pieces must be under way for either to go on
        workers.add(get_ident())

    share_out([meet, meet], threads=2)
    assert len(workers) == 2
    assert get_ident() in workers


@pytest.mark.parametrize("threads", [1, 2])
def test_what_a_piece_raises_reaches_the_caller_and_the_next_sweep_works(threads: int) -> None:
    def fail() -> None:
        raise ValueError("a piece failed")

    with pytest.raises(ValueError, match="a piece failed"):
        share_out([fail] * threads, threads)
    done = []
    share_out([lambda: done.append(1)], threads)
    assert done == [1]


def test_a_thread_has_enough_to_do(three_threads: None) -> None:
    numbers = [0, SHARE, 2 * SHARE - 1, 2 * SHARE, 3 * SHARE, 30 * SHARE]
    assert [threads_for(number) for number in numbers] == [1, 1, 1, 2, 3, 3]


def test_what_is_measured_is_the_sweep_of_one_thread(three_threads: None) -> None:
    """Operators in other threads would not be seen."""
    seen = []
    peak_live_bytes(lambda: seen.append(threads_for(9 * SHARE)), [])
    assert seen == [1]
    assert threads_for(9 * SHARE) == 3
