"""`python -m tightfit.datasets`: what it says of a data set, and of names and places that will not do."""

from pathlib import Path

import pytest

from tests.synthetic import bars
from tightfit.datasets.__main__ import main
from tightfit.datasets.dataset import Dataset, DataUnavailable
from tightfit.datasets.rotated import UPRIGHT


def unavailable() -> Dataset:
    raise DataUnavailable("mnist cannot be had")


@pytest.fixture(autouse=True)
def _without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIGHTFIT_CACHE", str(tmp_path))
    monkeypatch.setitem(UPRIGHT, "mnist", unavailable)
    monkeypatch.setitem(UPRIGHT, "fashion_mnist", bars)


def test_a_data_set_is_told_with_its_checksums(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fashion_mnist").mkdir()
    (tmp_path / "fashion_mnist" / "inputs").touch()
    assert main(["fashion_mnist"]) == 0
    assert capsys.readouterr().out == "fashion_mnist: 96 to train on, 96 to test on; by made\n  inputs sha256 none\n"


@pytest.mark.parametrize(
    ("names", "code", "message"),
    [
        (["cifar", "mnist"], 2, "cifar is no data set that is fetched by itself; choose from mnist, fashion_mnist"),
        ([""], 2, " is no data set that is fetched by itself"),
        (["--fast"], 2, "--fast is no setting of data"),
        ([], 2, "name at least one data set, such as mnist or fashion_mnist"),
        (["mnist"], 1, "mnist cannot be had"),
        (["fashion_mnist"], 1, "cannot be written; set TIGHTFIT_CACHE to another folder"),
    ],
)
def test_names_and_places_that_will_not_do_are_told_in_one_line(
    names: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(names) == code
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_one_that_cannot_be_had_does_not_keep_the_others_from_being_fetched(capsys) -> None:
    assert main(["mnist", "fashion_mnist"]) == 1
    assert "fashion_mnist: 96 to train on" in capsys.readouterr().out
