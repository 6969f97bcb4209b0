"""Pieces of work shared out among threads: sweeps over weights that hold the interpreter only between pieces.

Threads take the next piece when they are done with one, so none waits for another that the machine disturbs; and
PyTorch's own threads, which keep a core busy for milliseconds after an operator, cost what they use and no more.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode

Work = Callable[[], object]

SHARE = 2**16  # numbers, at least, for a thread of its own to be worth its start


def share_out(works: Iterable[Work], threads: int) -> None:
    """Do all of `works`, each once and in any order, in the caller's thread and `threads` − 1 others.

    What comes next is only made when it is asked for, by one thread at a time. Raises what a piece raised.
    """
    remaining, turn = iter(works), Lock()

    def help_out() -> None:
        while work := take():
            work()

    def take() -> Work | None:
        with turn:
            return next(remaining, None)

    helpers = [pool(os.getpid(), threads - 1).submit(help_out) for _ in range(threads - 1)]
    try:
        help_out()
    finally:
        for helper in helpers:
            helper.result()


def threads_for(numbers: int) -> int:
    """Threads for a sweep over that many numbers: at most PyTorch's, and the caller's alone where no more are of use.

    That is also where a mode watches PyTorch's operators, for it watches one thread only: what is measured or rehearsed
    is a sweep by one thread.
    """
    if numbers < 2 * SHARE or _get_current_dispatch_mode() is not None:
        return 1
    return max(1, min(torch.get_num_threads(), numbers // SHARE))


@functools.cache
def pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process: those of the process it was forked from do not run in it."""
    return ThreadPoolExecutor(threads, thread_name_prefix="sweep")
