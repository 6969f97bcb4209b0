"""What runs say of a paper's claim, from accuracies that leave no doubt, some doubt, and nothing to compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from analysis.claims import Claim, Verdict, claims, claims_table, verdict, verdicts
from analysis.names import METHODS
from analysis.papers import papers
from analysis.shelf import Standing
from analysis.statistics import estimate

EXAMPLES = 10_000


def standing(row: str, *finals: float, peak: float = 10.0) -> Standing:
    final = estimate(finals, EXAMPLES) if finals else None
    return Standing(row, "mezo", final, None, 0, 0, 0, 0, peak, 0, 6, "", (row,), finals, EXAMPLES)


def word(claim: Claim, own: Sequence[float], base: Sequence[float], peak: float = 9.0) -> str:
    return verdict(claim, standing("lozo", *own, peak=peak), standing("mezo", *base)).word


ABOVE = Claim("lozo", "mezo", "above", "")
AS_GOOD = Claim("lozo", "mezo", "as good", "", fewer_bytes=True)
HIGH, LOW, WIDE = (0.90, 0.901, 0.902), (0.80, 0.801, 0.802), (0.75, 0.90, 0.95)


@pytest.mark.parametrize(
    ("claim", "own", "base", "said"),
    [
        (ABOVE, HIGH, LOW, "confirmed"),
        (ABOVE, LOW, HIGH, "refuted"),
        (ABOVE, WIDE, LOW, "not seen"),
        (ABOVE, HIGH[:1], LOW, "not seen"),  # one seed shows nothing
        (ABOVE, (), LOW, ""),
        (AS_GOOD, HIGH, LOW, "confirmed"),
        (AS_GOOD, HIGH, [one + 0.009 for one in HIGH], "not seen"),  # the interval reaches beyond a point below
        (AS_GOOD, [0.9] * 5, [0.901] * 5, "confirmed"),
        (AS_GOOD, LOW, HIGH, "refuted"),
    ],
)
def test_a_claim_stands_where_its_interval_lies(
    claim: Claim, own: Sequence[float], base: Sequence[float], said: str
) -> None:
    assert word(claim, own, base) == said


def test_fewer_bytes_that_are_claimed_and_not_measured_refute_a_claim() -> None:
    assert word(AS_GOOD, HIGH, LOW, peak=10.0) == "refuted"
    assert word(ABOVE, HIGH, LOW, peak=11.0) == "confirmed"  # claims nothing of bytes


def test_only_what_has_something_to_be_compared_with_is_judged() -> None:
    found = [standing("lozo", *HIGH), standing("mezo", *LOW), standing("lozo_m", *HIGH)]
    said = {"lozo": ABOVE, "lozo_m": Claim("lozo_m", "lozo", "above", ""), "fzoo": Claim("fzoo", "mezo", "above", "")}
    assert [one.claim.row for one in verdicts(found, said)] == ["lozo", "lozo_m"]
    assert verdicts(found[:1], said) == []


def test_a_line_has_the_difference_in_points_and_the_share_of_bytes() -> None:
    one = verdict(ABOVE, standing("lozo", *HIGH, peak=5.0), standing("mezo", *LOW))
    (cells,) = claims_table({"": [one]}).rows
    assert cells[3].startswith("+10.00 (+")
    assert cells[4:] == ("50% of it", "confirmed")
    nothing = Verdict(ABOVE, None, math.nan, math.nan, ())
    rows = claims_table({"LeNet-5": [one], "MiniLM": [nothing]}).rows
    assert [cells[1] for cells in rows] == ["LeNet-5", "MiniLM"]
    assert rows[1][4:] == ("–", "–", "no result to compare")


def test_every_claim_is_of_rows_that_have_a_name_and_is_said_as_one_must_be() -> None:
    found = claims()
    assert set(found) | {one.against for one in found.values()} <= set(METHODS)
    assert all(one.says and one.against != one.row for one in found.values())
    with pytest.raises(ValueError, match="the claim of lozo says accuracy: best; write above or as good"):
        Claim("lozo", "mezo", "best", "")  # type: ignore[arg-type]


def test_claims_are_read_from_the_papers_that_say_them() -> None:
    said = [row for content in papers(Path("experiments")).values() for row in content.get("claims", {})]
    assert sorted(said) == sorted(claims())
