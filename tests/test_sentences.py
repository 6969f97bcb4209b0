"""What a run says of its data and of its end is what its record has, and what can be counted by hand."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tightfit.memory.budget import readable
from tightfit.run.session import carry_out

from .test_session import config


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines()]


def ended(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def test_the_first_line_is_of_the_data_and_the_last_of_what_was_reached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = carry_out(config(tmp_path)).folder
    first, *_, last = lines(capsys)
    # `bars` has 96 images, those of ten classes in turn: 10 of the first six and 9 of the others.
    assert first == (
        "96 examples to train on and 96 of test to score, in 10 classes of 9 to 10; always answering the most frequent "
        "one is right for 10.42%"
    )
    record = ended(folder)
    summary, memory = record["summary"], record["memory"]
    assert last.startswith(
        f"finished; test accuracy {summary['final_accuracy']:.2%} (best {summary['best_accuracy']:.2%}"
    )
    assert "most frequent class 10.42%), " in last
    assert f"batch {memory['batch_size']}, peak {readable(summary['peak_bytes'])} of unlimited memory, " in last
    assert last.endswith(f"; in {folder}")


def test_a_budget_is_said_beside_the_peak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    budget = {"_target_": "tightfit.memory.budget.MemoryBudget", "name": "custom", "size": "64MiB"}
    carry_out(config(tmp_path, memory_budget=budget))
    assert re.search(r"peak [\d.]+ [KM]iB of 64 MiB, ", lines(capsys)[-1])


def test_a_run_that_never_trained_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    budget = {"_target_": "tightfit.memory.budget.MemoryBudget", "name": "custom", "size": "1KB"}
    folder = carry_out(config(tmp_path, memory_budget=budget)).folder
    assert lines(capsys)[-1] == f"over_budget: {ended(folder)['reason']}"
