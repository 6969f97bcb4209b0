"""Memory budgets: sizes as people write them, and what fits. Pure functions, nothing is allocated."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

UNITS = {
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", start=1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", start=1)},
}

ALL_BUFFERS_LIVE, PEAK_LIVE, MEASURED = "all_buffers_live", "peak_live", "measured"
ACCOUNTINGS = (ALL_BUFFERS_LIVE, PEAK_LIVE, MEASURED)


def parse_size(size: str | int | float | None) -> int | None:
    """Bytes in `size`: a number of bytes, or a number with a unit (`512MB`, `1.5MiB`); None is no limit.

    MB is 10⁶ bytes, MiB is 2²⁰. Raises ValueError for anything else, and for sizes that are not positive.
    """
    if size is None:
        return None
    match = re.fullmatch(r"\s*([+-]?[0-9.]+(?:e[0-9]+)?)\s*([A-Za-z]*)\s*", str(size))
    number, unit = match.groups() if match else ("", "")
    try:
        count = float(number)
        scale = UNITS[unit or "B"]
    except (ValueError, KeyError):
        raise ValueError(
            f"memory budget {size!r} is not a size; write a number and one of {', '.join(UNITS)}"
        ) from None
    if count <= 0:
        raise ValueError(f"memory budget {size!r} must be more than zero bytes")
    if math.isinf(count * scale):
        raise ValueError(f"memory budget {str(size)[:12]}… is beyond any device; write a size")
    return int(count * scale)


def is_size(text: str) -> bool:
    """Whether `text` is written as a size is: a number, then letters or nothing. Its worth is not judged."""
    return re.fullmatch(r"[+-]?[0-9.]+[A-Za-z]*", text) is not None


def with_plain_sizes(arguments: Sequence[str]) -> list[str]:
    """Command-line `arguments` where `memory_budget=17GB`, which names no file, became the option of any size.

    Several sizes make a sweep. Raises ValueError where sizes and names are mixed in one sweep.
    """
    translated: list[str] = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        sizes = [is_size(choice) for choice in value.split(",")]
        if key != "memory_budget" or not any(sizes):
            translated.append(argument)
        elif all(sizes):
            translated += ["memory_budget=custom", f"memory_budget.size={value}"]
        else:
            raise ValueError(f"{argument} mixes sizes and names; sweep over sizes alone, or over names alone")
    return translated


def readable(size: int) -> str:
    """`size` bytes as text in the unit of the papers' figures: KiB, MiB or GiB."""
    unit = next((unit for unit in ("B", "KiB", "MiB") if size < 1024 * UNITS[unit]), "GiB")
    return f"{size / UNITS[unit]:.4g} {unit}"


class OverBudget(Exception):
    """A method needs more than the budget; says how much of what."""


@dataclass(frozen=True)
class MemoryBudget:
    """At most `size` (None: no limit), less `reserve`, in the accounting `decided_by`.

    reserve: what the device's system and other programs hold of `size`; None: nothing is set aside.

    decided_by: all_buffers_live, the papers' convention; peak_live, the bytes alive at the worst moment of two steps
        rehearsed without data on a batch as wide as any; or measured, the same of two real throwaway steps on the
        first batch. The first two are known before anything is allocated.
    enforce: limit the process itself while it trains (`enforcement.py` says how tightly), and refuse a run whose
        measured peak is above `size` whichever accounting decides.
    flash: memory beside it that is read and never written while training: frozen weights are held there as far as there
        is room. Only all_buffers_live knows of it.
    flops_per_second, bytes_per_second: peak rates of the device, which plans read; None where unknown.
    """

    name: str
    size: str | int | None = None
    decided_by: str = ALL_BUFFERS_LIVE
    enforce: bool = False
    flash: str | int | None = None
    flops_per_second: float | None = None
    bytes_per_second: float | None = None
    reserve: str | int | None = None

    def __post_init__(self) -> None:
        size, reserve = parse_size(self.size), parse_size(self.reserve)
        if reserve is not None and (size is None or reserve >= size):
            raise ValueError(
                f"memory_budget.reserve={self.reserve} leaves nothing of memory_budget.size={self.size}; choose less"
            )
        for name in ("flops_per_second", "bytes_per_second"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate < math.inf:
                raise ValueError(f"memory_budget.{name}={rate} is not a rate; choose more than 0")
        if self.decided_by not in ACCOUNTINGS:
            raise ValueError(f"decided_by={self.decided_by!r} is not an accounting; choose {', '.join(ACCOUNTINGS)}")
        if parse_size(self.flash) and (self.decided_by != ALL_BUFFERS_LIVE or self.enforce):
            raise ValueError(
                f"memory_budget.flash={self.flash} is counted in {ALL_BUFFERS_LIVE} alone; choose "
                f"memory_budget.decided_by={ALL_BUFFERS_LIVE} and enforce=false, or flash=null"
            )
        if self.enforce and self.size is None:
            raise ValueError(f"memory_budget.enforce=true but {self.name} has no size; choose a budget with one")

    @property
    def bytes(self) -> int | None:
        """What training may hold."""
        size = parse_size(self.size)
        return None if size is None else size - (parse_size(self.reserve) or 0)

    def in_flash(self, frozen: int) -> int:
        """Of `frozen` bytes of weights that nothing changes, those that take none of `size`."""
        return min(frozen, parse_size(self.flash) or 0)

    def allows(self, need: int) -> bool:
        return self.bytes is None or need <= self.bytes

    def refusal(self, need: int, accounting: str | None = None) -> str:
        """Why `need` bytes do not fit, in words."""
        size = readable(self.bytes or 0)
        return f"needs {readable(need)} of {size} ({self.name}, {accounting or self.decided_by})"

    def check(self, need: int, accounting: str) -> None:
        """Raises OverBudget when `need` bytes do not fit and `accounting` has a say in it."""
        has_a_say = accounting == self.decided_by or (self.enforce and accounting == MEASURED)
        if has_a_say and not self.allows(need):
            raise OverBudget(self.refusal(need, accounting))


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, where all below one that fits do; 0 when not even 1 does."""
    if most > 0 and fits(most):  # tried first: often so, and a try may be a training step
        return most
    low, high = 0, most - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
