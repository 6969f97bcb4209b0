"""A run is made by one process at a time, which finds its folder as the last one should have left it."""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO

from tightfit.records.record import FINAL, LOCK, clear_temporaries, read_run
from tightfit.run.checkpoint import FILES, clear_ended
from tightfit.run.progress import say


@contextmanager
def only_process_in(folder: Path, label: str) -> Generator[None]:
    """Holds the run in `folder`, without what killed processes left there; waits, and says so, while another does.

    A run that has ended may be where nothing can be written. Raises ValueError where one has to be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        if not has_ended(folder):
            raise ValueError(f"{folder} cannot be written ({error.strerror}); choose a place by paths.runs=…") from None
        lock = nullcontext()
    with lock as file:
        if file:
            hold(file, folder, label)
            clear_temporaries(folder, FILES)
            if has_ended(folder):  # its process was killed before it could do so
                clear_ended(folder)
        yield


def hold(lock: IO[str], folder: Path, label: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(label, f"waits for another process, which has this run in {folder}")
        fcntl.flock(lock, fcntl.LOCK_EX)


def has_ended(folder: Path) -> bool:
    record = read_run(folder)
    return record is not None and record.status in FINAL
