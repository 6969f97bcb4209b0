"""What the whole process holds: interpreter, libraries and freed blocks included, as the operating system counts."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
RESET_HIGH_WATER_MARK = "5"  # proc(5)
SINCE_RESET, SINCE_START = "VmHWM", "ru_maxrss"


class ProcessPeak:
    """While active, watches the most physical memory that the process held; afterwards `bytes` and `source` say it.

    source: VmHWM, of the time watched alone (Linux, where the mark may be reset), or ru_maxrss, of the process so far.
    """

    bytes = 0

    def __enter__(self) -> ProcessPeak:
        self.source = SINCE_RESET if reset() else SINCE_START
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.bytes = high_water_mark() if self.source == SINCE_RESET else most_so_far()


def reset() -> bool:
    """Let the high-water mark begin at what is held now; False where that cannot be done."""
    try:
        CLEAR_REFS.write_text(RESET_HIGH_WATER_MARK)
        return True
    except OSError:
        return False


def high_water_mark() -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024  # kB


def most_so_far() -> int:
    import resource  # of Unix alone

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
