"""What a paper claims of its method, as `claims:` in a paper.yaml has it, beside what the runs say of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .names import method
from .page import Table, table
from .papers import together
from .statistics import Difference, difference

if TYPE_CHECKING:
    from .shelf import Standing

AS_GOOD = 0.01  # a method that is less than one point worse counts as good
HEADERS = ("method", "claim", "beside", "points of accuracy (95%)", "measured peak", "so")
READING = (
    "A claim of more accuracy is confirmed where the 95% interval of the difference of means, over seeds and test "
    "examples, lies above zero, and refuted where it lies below. One to be as good may be a point worse. Fewer bytes "
    "are of the measured peak. All else is not seen, a single seed too. That is at this size and length: it says "
    "nothing of the papers' own."
)


@dataclass(frozen=True)
class Claim:
    """accuracy: above that of the row `against`, or as good. fewer_bytes: whether that is claimed too."""

    row: str
    against: str
    accuracy: Literal["above", "as good"]
    says: str
    fewer_bytes: bool = False

    @property
    def bound(self) -> float:
        """What the difference of accuracies is to lie above."""
        return 0.0 if self.accuracy == "above" else -AS_GOOD

    def __post_init__(self) -> None:
        if self.accuracy not in ("above", "as good"):
            raise ValueError(f"the claim of {self.row} says accuracy: {self.accuracy}; write above or as good")


@dataclass(frozen=True)
class Verdict:
    """What the runs say of a claim. `gained` is None, and the peaks nan, where one of the two has no result."""

    claim: Claim
    gained: Difference | None
    peak: float
    peak_against: float
    runs: tuple[str, ...]

    @property
    def word(self) -> Literal["confirmed", "refuted", "not seen", ""]:
        """Empty where there is nothing to compare."""
        if self.gained is None:
            return ""
        more_bytes = self.claim.fewer_bytes and self.peak >= self.peak_against
        if self.gained.high < self.claim.bound or more_bytes:
            return "refuted"
        return "confirmed" if self.gained.low > self.claim.bound else "not seen"


def claims() -> dict[str, Claim]:
    """All that the papers' folders name, by the row.

    Raises ValueError for a claim that is not said as `Claim` has it.
    """
    return {row: Claim(row, **said) for row, said in together("claims").items()}


def verdicts(found: Sequence[Standing], said: Mapping[str, Claim]) -> list[Verdict]:
    """Of the methods in `found`, which are all on one model, those of which `said` has a claim on another of them."""
    by_row = {one.row: one for one in found}
    return [
        verdict(said[row], one, by_row[said[row].against])
        for row, one in by_row.items()
        if row in said and said[row].against in by_row
    ]


def verdict(claim: Claim, own: Standing, base: Standing) -> Verdict:
    """own, base: the method that the claim is of, and the one that it names."""
    runs = (*own.runs, *base.runs)
    if not own.finals or not base.finals or not own.examples:
        return Verdict(claim, None, math.nan, math.nan, runs)
    gained = difference(own.finals, base.finals, own.examples)
    return Verdict(claim, gained, own.measured_bytes, base.measured_bytes, runs)


def claims_table(of_models: Mapping[str, Sequence[Verdict]]) -> Table:
    """A line for each claim; of_models: the verdicts by a model's title, which is told where there are several."""
    several = len(of_models) > 1
    return table(
        (HEADERS[0], "model", *HEADERS[1:]) if several else HEADERS,
        [
            [words[0], model, *words[1:]] if several else words
            for model, all_of_it in of_models.items()
            for words in map(line, all_of_it)
        ],
    )


def line(one: Verdict) -> list[str]:
    """As HEADERS."""
    gained = "–"
    if one.gained:
        known = "" if math.isnan(one.gained.low) else f" ({100 * one.gained.low:+.2f} to {100 * one.gained.high:+.2f})"
        gained = f"{100 * one.gained.mean:+.2f}{known}"
    share = one.peak / one.peak_against
    return [
        method(one.claim.row).title,
        one.claim.says,
        method(one.claim.against).title,
        gained,
        "–" if math.isnan(share) else f"{share:.0%} of it",
        one.word or "no result to compare",
    ]
