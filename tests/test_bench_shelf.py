"""What the bench of the shelf compares; how long steps take is no test."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tightfit.bench import language, shelf, targets
from tightfit.bench.__main__ import main
from tightfit.bench.language import Shape
from tightfit.records.places import CONF


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    monkeypatch.setitem(language.SHAPES, "135M", Shape(64, 1, 2, 1, 64))
    monkeypatch.setattr(language, "VOCABULARY", 1500)
    monkeypatch.setattr(targets, "SECONDS", 0.0)
    monkeypatch.setattr(shelf, "cores_for", lambda _: 1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("tiny")
def test_every_method_is_measured_beside_mezo_and_beside_two_forwards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["part=shelf", f"csv={tmp_path / 'shelf.csv'}"]) == 0
    lines = list(csv.DictReader((tmp_path / "shelf.csv").open()))
    names = [f"{name} / MeZO step" for name in shelf.methods()]
    names += [f"{name} step / two forwards" for name in ("MeZO", *shelf.methods())]
    assert [line["row"] for line in lines] == names
    assert all(float(line["ratio"]) > 0 for line in lines)
    assert capsys.readouterr().out.count("SubZero / MeZO step") == 2  # as it is measured, and in the table


def test_each_kind_of_method_has_its_aim() -> None:
    aims = {row.name.partition(" / ")[0]: row.target for row in shelf.over_mezo() if row.target}
    assert aims == {"momentum": 1.25, "Adam": 1.25, "sign": 1.25, "LOZO": 1.1, "SubZero": 1.1, "masks": 1.1}
    assert {row.name: row.target for row in shelf.over_forwards() if row.target} == {
        "virtual probe step / two forwards": 1.0
    }


def test_no_descent_and_no_direction_is_left_out() -> None:
    measured = [method for method, _ in shelf.methods().values()]
    kinds = {method.facts().descent for method in measured}
    assert {"momentum", "adam", "sign", "normalised", "adamu", "factors"} <= kinds
    there = {path.stem for path in (CONF / "optimizer/direction").glob("*.yaml")}
    own = there - {"gaussian_fast", "torch_gaussian", "torch_legacy"}  # numbers that MeZO has in bench part=language
    assert own == {method.facts().noise for method in measured}
