"""What the answer compares and how it draws it: groups of seeds, the front, what differs, axes and colours."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.load import merge
from analysis.names import method
from analysis.palette import COLORS, PAPER, on_dark
from analysis.report.answer import Facet, Study, html, page
from analysis.report.axes import axis
from analysis.report.committed import study_of as committed_study
from analysis.report.groups import Group, accuracy, front
from analysis.report.own import load_own, study_of
from analysis.report.parts import digits
from analysis.report.pictures import HEIGHT, Line, curves
from analysis.statistics import estimate
from tests.analysis.conftest import MIB
from tests.analysis.miniature import STEPS_PER_EVALUATION, make_run


def group(name: str, share: float, size: float, facet: int = 0) -> Group:
    final = None if math.isnan(share) else estimate([share])
    return Group(name, method(name), facet, (name,), final, "", size, size, math.nan, "1", 1.0, {}, (), None, (name,))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), max_size=12))
def test_the_front_is_what_no_other_beats(results: list[tuple[int, int]]) -> None:
    groups = [group(str(place), share / 5, size) for place, (share, size) in enumerate(results)]
    best = front(groups)
    for one in groups:
        better = [
            other
            for other in groups
            if (other.held_bytes <= one.held_bytes and accuracy(other) > accuracy(one))
            or (other.held_bytes < one.held_bytes and accuracy(other) == accuracy(one))
        ]
        assert not (better and one in best)
        same = [other for other in best if (other.held_bytes, accuracy(other)) == (one.held_bytes, accuracy(one))]
        assert better or len(same) == 1


def test_what_has_no_number_or_no_size_is_on_no_front() -> None:
    assert front([group("a", math.nan, 1.0), group("b", 0.5, math.nan)]) == []


def test_under_a_budget_all_that_fits_competes_and_nothing_else() -> None:
    small, large = Facet(1, "1", 1.0), Facet(2, "2", 2.0)
    groups = [group("a", 0.9, 1.0, 1), group("b", 0.8, 2.0, 2)]
    study = Study("s", "t", groups, [small, large], ["method"], "x", True)
    assert study.competing(small) == groups[:1]
    assert study.competing(large) == groups
    assert page(study).data[""]["front"].tolist() == [True, False]  # the larger one buys nothing


def test_a_committed_study_has_reasons_where_there_is_no_number(budget_runs: Path) -> None:
    study = committed_study("elasticzo/budgets", load_own(budget_runs))
    assert [facet.size for facet in study.facets] == [3 * MIB // 2, 3 * MIB]
    by_name = {one.name: one for one in study.of(study.facets[0])}
    assert by_name["Full BP, Adam"].final is None
    assert by_name["Full BP, Adam"].note.startswith("over budget: needs")
    assert by_name["Full ZO"].note == "diverged at step 312"
    assert by_name["Full BP"].final.n == 2
    assert len(by_name["Full BP"].runs) == 2


def test_what_differs_between_own_runs_becomes_columns_and_what_follows_from_it_does_not(tmp_path: Path) -> None:
    for optimizer, lr, seed in [("mezo", 0.1, 0), ("mezo", 0.1, 1), ("mezo", 0.2, 0), ("bp_sgd", 0.1, 0)]:
        own = {"name": optimizer, "lr": lr, "title": optimizer.upper(), "queries": 1 if optimizer == "mezo" else None}
        make_run(tmp_path, "scratch", "full_zo", "x", [0.1, 0.5], seed=seed, optimizer=own, cell=None)
    study = study_of(load_own(tmp_path), "optimizer", "step", "memory_budget")
    assert study.headings == ["optimizer", "optimizer.lr"]
    assert sorted((one.settings, one.final.n) for one in study.groups) == [
        (("bp_sgd", "0.1"), 1),
        (("mezo", "0.1"), 2),
        (("mezo", "0.2"), 1),
    ]
    assert {one.drawn.color for one in study.groups} == {COLORS["backprop"], COLORS["zeroth_order"]}


def test_courses_are_over_forward_passes_where_these_are_on_record(tmp_path: Path) -> None:
    for optimizer, passes in (("mezo", (2, 0)), ("bp_sgd", (1, 1))):
        make_run(tmp_path, "mine", "full_zo", "x", [0.1, 0.9], optimizer={"name": optimizer}, passes=passes)
    study = study_of(load_own(tmp_path), "optimizer", "forward_passes", "memory_budget")
    ends = {one.name: one.course.x[-1] for one in study.groups if one.course}
    assert ends == {"mezo": 2 * STEPS_PER_EVALUATION, "bp_sgd": STEPS_PER_EVALUATION}
    for file in tmp_path.rglob("evals.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps({**row, "forward_passes": None}) + "\n" for row in rows))
    with pytest.raises(ValueError, match="x=forward_passes is not on record of these runs; choose epoch, step, train"):
        study_of(load_own(tmp_path), "optimizer", "forward_passes", "memory_budget")


def test_what_the_most_frequent_class_reaches_is_a_line_under_the_courses(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path, "mine", "full_bp", "x", [0.7, 0.9], seed=seed, majority=0.42)
    make_run(tmp_path, "mine", "full_zo", "x", [0.7, 0.8])
    study = study_of(load_own(tmp_path), "optimizer", "step", "memory_budget")
    drawn = html(study, {})
    assert drawn.count('class="level"') == 1
    assert "most frequent class 42.0%" in drawn
    level, start = (
        drawn.partition(f'class="{name}"')[2].partition('d="M')[2].split('"')[0] for name in ("level", "line")
    )
    heights = [float(re.split("[HL ]", path)[1]) for path in (level, start)]
    assert HEIGHT > heights[0] > heights[1] > 0  # below the course, and on the picture


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("optimiser", "step", "model"), "group=optimiser is no setting of these runs; choose dataset"),
        (("optimizer", "hours", "model"), "x=hours is no setting of these runs; choose epoch, forward_passes, step"),
        (("optimizer", "step", "budget"), "facet=budget is no setting of these runs; choose dataset"),
    ],
)
def test_a_wrong_word_names_what_there_is(words: tuple[str, str, str], said: str, runs: Path) -> None:
    with pytest.raises(ValueError, match=said):
        study_of(load_own(runs), *words)


def test_a_folder_without_runs_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no run in it"):
        load_own(tmp_path)


def test_a_run_that_cannot_be_read_is_left_out_with_a_warning(runs: Path) -> None:
    whole = load_own(runs)
    damaged = next(runs.rglob("run.json"))
    damaged.write_text("{")
    with pytest.warns(UserWarning, match="is left out"):
        left = load_own(runs)
    assert len(left.runs) == len(whole.runs) - 1
    assert len(merge(left, whole).runs) == len(whole.runs)


@pytest.mark.parametrize(("kind", "values"), [("linear", (0.0, 7.0)), ("log", (0.02, 900.0)), ("logit", (0.1, 0.99))])
def test_an_axis_keeps_order_and_its_ticks_are_on_it(kind: str, values: tuple[float, float]) -> None:
    made = axis("a", kind, values)  # ty: ignore[invalid-argument-type]
    places = [made.place(value) for value in made.ticks]
    assert places == sorted(places)
    assert 3 <= len(places) <= 12
    assert all(0 <= place <= 1 for place in places)
    assert 0 < made.place(values[0]) < made.place(values[1]) < 1


@pytest.mark.parametrize("kind", ["linear", "log", "logit"])
@pytest.mark.parametrize("values", [[], [0.5], [math.nan, 0.5], [0.0, 1.0]])
def test_an_axis_of_almost_nothing_still_is_one(kind: str, values: list[float]) -> None:
    made = axis("a", kind, values)  # ty: ignore[invalid-argument-type]
    assert made.ticks
    assert all(math.isfinite(made.place(value)) for value in made.ticks)


def test_a_line_rises_where_accuracy_does() -> None:
    ends = np.array([1.0, 2.0])
    line = Line("m", "#000000", "-", ends, np.array([0.2, 0.8]), np.array([0.1, 0.7]), np.array([0.3, 0.9]))
    drawn = curves([line], axis("x", "linear", ends), axis("y", "linear", [0.0, 1.0]), "t")
    start, end = drawn.partition('class="line"')[2].partition('d="M')[2].partition('"')[0].split("L")
    assert HEIGHT > float(start.split()[1]) > float(end.split()[1]) > 0
    assert float(start.split()[0]) < float(end.split()[0])


def luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("color", COLORS.values())
def test_a_method_is_seen_on_the_dark_page_too(color: str) -> None:
    """WCAG asks for 3 : 1 of graphics."""
    assert (luminance(on_dark(color)) + 0.05) / (luminance(on_dark(PAPER)) + 0.05) > 3


@pytest.mark.parametrize(("number", "said"), [(0.12345, "0.123"), (12.345, "12.3"), (1620.4, "1620")])
def test_milliseconds_have_no_powers_of_ten(number: float, said: str) -> None:
    assert digits(number) == said
