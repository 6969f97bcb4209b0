"""The rule of the choice, on trials whose winner can be read off, and the declaration of what is compared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from analysis.choose import choices, edge_text, main, page
from analysis.protocol import Comparison, comparison, comparisons, superseded_reasons
from analysis.render.markdown import markdown
from tests.analysis.miniature import make_run
from tests.analysis.test_check import ENTRY, World, config, record

CELL = ("zo", "mnist")


def declared(**changes: Any) -> Comparison:
    return comparison("paper/table", {**ENTRY, **changes})


def trial(lr: Any, accuracy: float, loss: float = 0.5, status: str = "finished") -> dict[str, Any]:
    made = record(f"lr{lr}", config("zo", 100, {"lr": lr}), "validation", accuracy)
    return {**made, "status": status, "summary": {"final_accuracy": accuracy, "final_loss": loss}}


@pytest.mark.parametrize(
    ("trials", "winner"),
    [
        ([trial(1, 0.7), trial(2, 0.8), trial(3, 0.6)], 2),
        ([trial(1, 0.8, 0.6), trial(2, 0.8, 0.4), trial(3, 0.8, 0.5)], 2),  # a tie: the lower loss
        ([trial(1, 0.7), trial(2, 0.99, 0.1, "diverged"), trial(3, 0.6)], 1),  # below all, whatever it had reached
        ([trial(1, 0.0, 9.0), trial(2, 0.5, 0.1, "over_budget")], 1),
    ],
)
def test_the_best_held_out_accuracy_wins(trials: list[dict[str, Any]], winner: int):
    for order in (trials, trials[::-1]):
        best = choices(declared(), order)[CELL].winner
        assert best is not None
        assert best.values == {"lr": winner}


def test_a_trial_without_scores_is_below_all():
    broken = {**trial(1, 0.0), "status": "diverged", "summary": {}}
    assert choices(declared(), [broken, trial(2, 0.1)])[CELL].winner.values == {"lr": 2}
    assert choices(declared(), [broken])[CELL].winner is None


@pytest.mark.parametrize(
    ("accuracies", "edge"),
    [([0.9, 0.8, 0.7], "lr: try further"), ([0.7, 0.8, 0.9], "lr: try further"), ([0, 1, 0], "no")],
)
def test_a_winner_at_an_edge_of_a_grid_is_told(accuracies: list[float], edge: str):
    trials = [trial(10**place, accuracy) for place, accuracy in enumerate(accuracies)]
    assert edge_text(choices(declared(), trials)[CELL]) == edge


def test_schedules_are_ordered_by_what_they_begin_with():
    trials = [trial([7, 6, 5], 0.9), trial([5, 4, 3], 0.8), trial([5, 5, 5], 0.7), trial([3, 2, 1], 0.6)]
    assert choices(declared(), trials)[CELL].at_edge == ("lr",)
    assert choices(declared(last={"lr": [[7, 6, 5]]}), trials)[CELL].at_edge == ()


def test_pairs_have_no_edge_but_the_outermost_is_told():
    world = World()
    chosen = choices(world.comparison, world.trials)[("hybrid", "mnist")]
    assert (chosen.is_grid, chosen.at_edge) == (False, ("bp_lr",))
    assert edge_text(chosen) == "bp_lr: outermost, say so"


def test_a_page_has_a_line_for_each_contender_and_the_lines_to_freeze():
    world = World()
    text = markdown(page(world.comparison, choices(world.comparison, world.trials)))
    assert "| zo | mnist | 3 of 3 | {lr: 0.2} | 80.00 | 0.2000 | no |" in text.replace("MNIST", "mnist")
    assert "In experiments/paper/table.yaml, of those with all trials:\n\nchosen:\n  mnist:\n" in text
    assert "    hybrid: {lr: 0.02, bp_lr: 0.5}\n" in text
    assert "    zo: {lr: 0.2}\n" in text


def test_a_contender_with_trials_to_come_is_shown_and_not_frozen():
    world = World()
    world.without("zo-t0")
    text = markdown(page(world.comparison, choices(world.comparison, world.trials)))
    assert "| 2 of 3 | {lr: 0.2} |" in text
    assert "    zo: {" not in text


def test_trials_of_another_column_are_of_another_comparison():
    assert choices(declared(columns=["cifar"]), [trial(1, 0.5)]) == {}


def test_the_command_reads_committed_and_local_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    experiments, runs = tmp_path / "experiments", tmp_path / "runs"
    experiments.mkdir()
    (experiments / "protocol.yaml").write_text(str({"paper/table": {**ENTRY, "settings": {"lr": "optimizer.lr"}}}))
    main(["paper/tuning/table", "--runs", str(runs)], experiments)
    assert "has no recorded trials; run tightfit reproduce paper/tuning/table" in capsys.readouterr().out
    _, best, _ = (
        make_run(runs, "paper/tuning/table", "full_zo", "mnist", [0.1, final], optimizer={"name": "mezo", "lr": lr})
        for lr, final in ((0.1, 0.5), (0.2, 0.9), (0.4, 0.3))
    )
    make_run(runs, "paper/tuning/table", "full_bp", "mnist", status="interrupted")
    main(["paper/tuning/table", "--runs", str(runs)], experiments)
    said = capsys.readouterr().out
    assert "full_zo: {lr: 0.2}" in said
    assert "Full BP" not in said  # it has not ended
    known = {**ENTRY, "settings": {"lr": "optimizer.lr"}, "superseded": [{"key": best.name, "reason": "a fault"}]}
    (experiments / "protocol.yaml").write_text(str({"paper/table": known}))
    main(["paper/tuning/table", "--runs", str(runs)], experiments)
    assert re.search(r"2 of 3 +\{lr: 0.1\}", capsys.readouterr().out)
    with pytest.raises(SystemExit):
        main(["paper/tuning/other", "--runs", str(runs)], experiments)
    assert "paper/tuning/other has the trials of no comparison in protocol.yaml; choose paper/tuning/table" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "done"}, "status=done is none; write under way or complete"),
        ({"frozen": {"zo": 7782854}}, "frozen.zo=7782854 is read as a number; write it in quotes"),
        ({"retries": 1}, "retries is nothing that it says; it says status,"),
        ({"superseded": [{"key": "abc"}]}, "is no exception; write key, reason or protocol, reason"),
        ({"superseded": [{"key": "abc", "protocol": 1, "reason": "x"}]}, "is no exception; write key, reason or"),
        ({"missing": [{"row": "zo", "reason": "x"}]}, "is no exception; write column, row, seed, reason"),
        ({"modified_trials": [{"reason": "x"}]}, "is no exception; write commit, reason"),
    ],
)
def test_a_declaration_that_says_something_else_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=f"protocol.yaml, paper/table: .*{message}"):
        declared(**changes)


def test_a_declaration_says_everything():
    with pytest.raises(ValueError, match="paper/table: frozen is not said; every entry says status"):
        comparison("paper/table", {name: value for name, value in ENTRY.items() if name != "frozen"})


def test_without_a_declaration_nothing_is_under_the_protocol(tmp_path: Path):
    assert comparisons(tmp_path) == []
    assert superseded_reasons("paper/table", [{"key": "a", "cell_column": "mnist", "protocol": 1}], tmp_path) == {}


def test_reasons_are_those_of_the_column_and_a_key_counts_before_a_protocol(tmp_path: Path):
    said = [{"key": "a", "reason": "its own"}, {"protocol": 1, "reason": "all"}]
    (tmp_path / "protocol.yaml").write_text(str({"paper/table": {**ENTRY, "superseded": said}}))
    runs = [
        {"key": "a", "cell_column": "mnist", "protocol": 1},
        {"key": "b", "cell_column": "mnist", "protocol": 1},
        {"key": "c", "cell_column": "mnist", "protocol": 2},
        {"key": "d", "cell_column": "cifar", "protocol": 1},
    ]
    assert superseded_reasons("paper/table", runs, tmp_path) == {"a": "its own", "b": "all"}
