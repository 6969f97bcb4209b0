import mmap
from pathlib import Path

import pytest

from tightfit.memory import process
from tightfit.memory.process import ProcessPeak

MIB = 2**20


def touch(size: int) -> None:
    """Hold `size` bytes for a moment, all of their pages."""
    with mmap.mmap(-1, size) as pages:
        for start in range(0, size, 4096):
            pages[start] = 1


def test_peak_rises_by_what_was_held_for_a_moment_and_forgets_what_was_before() -> None:
    touch(256 * MIB)
    with ProcessPeak() as before:
        pass
    with ProcessPeak() as during:
        touch(256 * MIB)
    assert during.bytes - before.bytes > 200 * MIB or during.source == "ru_maxrss"


def test_where_the_mark_cannot_be_reset_the_process_so_far_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process, "CLEAR_REFS", tmp_path / "no" / "such" / "file")
    with ProcessPeak() as peak:
        pass
    assert (peak.source, peak.bytes) == ("ru_maxrss", process.most_so_far())
