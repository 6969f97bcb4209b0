"""A plan in a sentence for each model on each device: what fits, how fast it is at best, and what does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tightfit.memory.budget import readable
from tightfit.plan.answer import Answer

DAY = 24 * 60 * 60


def sentences(rows: Sequence[Answer]) -> Iterator[str]:
    """One for each combination of all but the method, in the order of the rows; none where there is no limit."""
    groups: dict[tuple[object, ...], list[Answer]] = {}
    for row in rows:
        groups.setdefault((row.device, row.model, row.sequence_length, row.batch_size), []).append(row)
    yield from (sentence(group) for group in groups.values() if group[0].budget_bytes is not None)


def sentence(rows: Sequence[Answer]) -> str:
    """Of rows that differ in the method alone."""
    first = rows[0]
    fitting, others = [row for row in rows if row.fits], [row for row in rows if not row.fits]
    yes = f"it fits by {listed([fit(row) for row in fitting])}" if fitting else "it fits by none of these methods"
    no = listed([misfit(row) for row in others]) if others else ""
    ending = f"; it does not by {no}" if fitting and others else f": {no}" if others else ""
    return (
        f"{first.model} on {first.device}, which has {readable(first.budget_bytes or 0)} for training: {yes}{ending}."
    )


def fit(row: Answer) -> str:
    """A method that fits, with the largest batch, and what a step takes at best where the device's speed is known."""
    told = [f"batch up to {row.largest_batch:,}" + (f" at {row.sequence_length} tokens" if row.sequence_length else "")]
    if row.seconds_at_peak is not None:
        a_day = DAY / row.seconds_at_peak
        told.append(f"{row.seconds_at_peak:.3g} s a step of {row.batch_size} at best, {a_day:,.0f} steps a day")
    return f"{row.optimizer} ({'; '.join(told)})"


def misfit(row: Answer) -> str:
    """A method that does not fit: what it needs, and the batch for which it would."""
    smaller = f"; batch {row.largest_batch:,} would fit" if row.largest_batch else ""
    return f"{row.optimizer} ({readable(row.memory.total)}{smaller})"


def listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
