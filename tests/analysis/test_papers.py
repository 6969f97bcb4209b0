"""A paper says in its own folder what is drawn of it and how that is written."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis import papers
from analysis.load import EXPERIMENTS
from analysis.names import meanings, of_papers, subject
from analysis.palette import COLORS, SCALE

NEW = """
title: New
rows:
  ours: {title: Our method, family: zeroth_order}
scale:
  few: {title: Few}
  many: {title: Many}
tables: [first]
figures:
  rise: {of: first, draw: analysis.curves.accuracy_by_seconds}
smaller:
  all: [model=llama_tiny]
"""


READ = papers.papers.__wrapped__
Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes what a paper says; only such are read, instead of the committed folders."""
    monkeypatch.setattr(papers, "papers", lambda: READ(tmp_path))

    def write(paper: str, text: str) -> None:
        (tmp_path / paper).mkdir()
        (tmp_path / paper / "paper.yaml").write_text(text)

    return write


def test_a_new_paper_is_one_file_in_its_folder(write: Write) -> None:
    write("new", NEW)
    assert (papers.tables(), papers.smaller("new/first")) == (("new/first",), ["model=llama_tiny"])
    assert [(name, experiment) for name, experiment, _ in papers.figures()] == [("rise", "new/first")]
    found = of_papers()
    assert (found["ours"].short, found["ours"].color) == ("Our method", COLORS["zeroth_order"])
    assert (found["few"].color, found["many"].color) == (SCALE[0], SCALE[-1])


@pytest.mark.parametrize(
    ("text", "read", "message"),
    [
        ("row: {}", papers.tables, "other/paper.yaml says row, which nothing reads; it may say title, rows"),
        ("rows: {ours: {title: Theirs, family: backprop}}", of_papers, "other/paper.yaml says rows.ours="),
        (
            "pages: {first: analysis.nosuch}",
            papers.pages,
            "other/paper.yaml names analysis.nosuch, which is no function",
        ),
    ],
)
def test_what_a_paper_cannot_mean_is_refused(text: str, read: Callable[[], object], message: str, write: Write) -> None:
    write("new", NEW)
    write("other", text)
    with pytest.raises(ValueError, match=message):
        read()


def test_every_paper_with_experiments_says_what_they_are_called() -> None:
    with_sweeps = {path.parent.name for path in EXPERIMENTS.glob("*/*.yaml") if "MULTIRUN" in path.read_text()}
    assert with_sweeps == set(papers.papers())


def test_each_model_is_named_with_what_it_was_trained_on() -> None:
    pairs = [("lenet5", "mnist"), ("lenet5", "fashion_mnist"), ("pointnet", "modelnet40"), ("pointnet", "modelnet40")]
    runs = pd.DataFrame(pairs, columns=["model", "dataset"])
    assert subject(runs) == "LeNet-5 on MNIST, Fashion-MNIST; PointNet on ModelNet40"
    both = pd.DataFrame({"model": ["lenet5", "pointnet", None], "dataset": "mnist_points"})
    assert subject(both) == "LeNet-5, PointNet on MNIST points"


def test_what_a_paper_coined_is_explained_where_it_is_drawn() -> None:
    said = "Full ZO: forward passes alone; ZO-Feat-Cls1: the last two by backpropagation."
    assert meanings(["cls1", "full_zo", "bp_sgd", "cls1"]) == said
    assert meanings(["bp_sgd", "full_bp"]) == ""
