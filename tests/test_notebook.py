"""The lesson: ten cells that run from top to bottom, and say what their runs have on record."""

import os
import re
from pathlib import Path

import pytest

from tightfit.records.record import read_run

nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
ROOT = Path(__file__).parents[1]
LESSON = ROOT / "notebooks" / "lesson.ipynb"


def text_of(cell: object) -> str:
    return "".join(output.get("text", "") for output in cell.get("outputs", ()))  # ty: ignore[unresolved-attribute]


def test_the_lesson_has_ten_cells_and_no_outputs() -> None:
    lesson = nbformat.read(LESSON, as_version=4)
    assert [cell.cell_type for cell in lesson.cells] == ["markdown", "code"] * 5
    assert not any(cell.get("outputs") for cell in lesson.cells)  # numbers are of whoever runs it


@pytest.mark.slow
def test_the_lesson_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LESSON_SECONDS", "0.5")
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT)]))
    lesson = nbformat.read(LESSON, as_version=4)
    nbclient.NotebookClient(lesson, timeout=500, resources={"metadata": {"path": str(tmp_path)}}).execute()
    memory, budgets, table = (text_of(lesson.cells[number]) for number in (3, 7, 9))
    records = [read_run(path.parent) for path in (tmp_path / "runs" / "python").glob("*/run.json")]
    assert len(records) == 4 + 4
    sizes = dict(re.findall(r"^(\w+) +([\d.]+) MiB", memory, re.MULTILINE))
    assert list(sizes) == ["bp_adam", "bp_sgd", "elastic_zo", "mezo"]
    assert float(sizes["mezo"]) < float(sizes["elastic_zo"]) < float(sizes["bp_sgd"]) < float(sizes["bp_adam"])
    lines = budgets.splitlines()
    assert len(lines) == 4
    assert any("over_budget: needs " in line for line in lines)  # in the smallest budget something is refused
    assert all("finished: batch " in line for line in lines if " mezo " in line)
    for record in records:
        assert record is not None
        assert record.key in table
