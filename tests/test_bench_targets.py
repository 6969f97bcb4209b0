"""What the bench of targets does with its time and writes down; how long steps take is no test."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console

from tightfit.bench import language, targets
from tightfit.bench.language import Shape
from tightfit.bench.pairs import MOST_PAIRS, ratio_within
from tightfit.bench.targets import Measured, Pair, Row, measure, record, rows, table_of


class Slow:
    """Work on a clock of its own."""

    def __init__(self) -> None:
        self.time = 0.0

    def taking(self, seconds: float) -> object:
        self.time += seconds
        return None


@pytest.mark.parametrize(("step", "within", "pairs"), [(0.5, 10.0, 6), (0.5, 1000.0, MOST_PAIRS), (50.0, 10.0, 1)])
def test_a_row_takes_the_pairs_that_its_seconds_allow(step: float, within: float, pairs: int) -> None:
    clock = Slow()
    ratio = ratio_within(lambda: clock.taking(2 * step), lambda: clock.taking(step), within, now=lambda: clock.time)
    assert (ratio.pairs, ratio.is_cut) == (pairs, pairs < MOST_PAIRS)
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((2.0, 2.0, 2.0))
    assert (ratio.seconds, ratio.reference_seconds) == pytest.approx((2 * step, step))


def test_short_work_is_repeated_until_the_clock_tells_it() -> None:
    clock, calls = Slow(), []
    work = lambda: calls.append(clock.taking(0.001))  # noqa: E731
    ratio_within(work, lambda: clock.taking(0.001), 10.0, most=1, now=lambda: clock.time)
    assert len(calls) == 1 + 1 + 50


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    monkeypatch.setitem(language.SHAPES, "135M", Shape(64, 1, 2, 1, 64))
    monkeypatch.setattr(language, "VOCABULARY", 1500)
    monkeypatch.setattr(targets, "MANY_IMAGES", 8)
    monkeypatch.setattr(targets, "SECONDS", 0.0)
    monkeypatch.setattr(targets, "cores_for", lambda _: 1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("tiny")
def test_every_row_is_measured_told_as_it_is_and_recorded_with_what_the_machine_can_do(tmp_path: Path) -> None:
    console = Console(width=200, record=True)
    measured = list(measure(rows(), console))
    assert len(measured) == len(rows())
    assert console.export_text().count("cut at 1 pairs") == len(measured)
    assert all(each.ratio.median > 0 for each in measured)
    assert [each.held < 1 for each in measured if each.held] == [True, True]
    record(measured, tmp_path / "targets.csv")
    lines = list(csv.DictReader((tmp_path / "targets.csv").open()))
    assert [line["row"] for line in lines] == [row.name for row in rows()]
    assert {line["capability"] for line in lines} == {torch.backends.cpu.get_cpu_capability()}
    assert {line["threads"] for line in lines} == {str(row.threads) for row in rows()}
    assert all(line["cpu"] and line["measured_at"] and line["load"] for line in lines)


def test_the_target_of_integers_is_that_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for told, target in ((True, 0.60), (False, 1.05), (None, 1.05)):
        monkeypatch.setattr(targets, "told_of_int8", lambda told=told: told)
        assert rows()[0].target == target


def quick(name: str, target: float | None) -> Row:
    return Row(name, target, lambda: Pair(lambda: None, lambda: None))


def test_the_table_says_which_targets_are_met() -> None:
    ratio = ratio_within(int, int, 0.0)
    aims = {"easy": 1e9, "hard": 1e-9, "least": 0.0, "unasked": None}
    console = Console(width=200, record=True)
    console.print(table_of([Measured(quick(name, aim), ratio, None) for name, aim in aims.items()], "here"))
    words = console.export_text()
    assert [words.count(word) for word in ("met", "missed", "bound")] == [1, 1, 1]


def test_what_cannot_be_had_and_what_would_begin_too_late_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Pair:
        raise ValueError("language models need transformers")

    console = Console(width=200, record=True)
    assert list(measure([Row("text", 1.0, missing)], console)) == []
    monkeypatch.setattr(targets, "ALL_SECONDS", -1.0)
    assert list(measure([quick("late", 1.0)], console)) == []
    said = console.export_text()
    assert "text: left out (language models need transformers)" in said
    assert "late: left out, for -1 seconds are over" in said
