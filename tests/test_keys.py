"""What names a run: two configurations have one key where they can only compute the same."""

import sys
from pathlib import Path
from typing import Any

import pytest

import tightfit
from tightfit.numerics.int8.matmul import BACKENDS
from tightfit.optimizers import mezo
from tightfit.run.keys import run_key

from .test_session import INTEGERS, config

INDEPENDENT = "tightfit.optimizers.directions.independent.Independent"
DIRECTION = {"_target_": INDEPENDENT, "name": "gaussian", "noise": "gaussian", "kernel": "auto"}
MEZO = {"_target_": "tightfit.optimizers.mezo.MeZO", "name": "mezo", "lr": 1, "eps": 1e-3, "direction": DIRECTION}
TEXTS = {
    "_target_": "tightfit.datasets.text_file.text_file",
    "name": "mine",
    "path": "my.tsv",
    "verbalizers": {0: "bad", "neg": "worse", True: "good"},
}


def changed(part: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """`part` with the setting at `path`, such as direction.noise, set to `value`."""
    name, _, rest = path.partition(".")
    return {**part, name: changed(part[name], rest, value) if rest else value}


@pytest.fixture
def base(tmp_path: Path) -> dict[str, Any]:
    return config(tmp_path, optimizer=MEZO, dataset={**config(tmp_path)["dataset"], "train_limit": 50})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("tracker", {"_target_": "another"}),
        ("paths.runs", "elsewhere"),
        ("cell", None),
        ("dataset.folder", "/data"),
        ("dataset.cache", "/cache"),
        ("dataset.title", "Bars"),
        ("dataset.test_limit", None),
        ("model.name", "called otherwise"),
        ("optimizer.name", "called otherwise"),
        ("optimizer.lr", 1.0),
        ("optimizer.direction.kernel", "portable"),
        ("optimizer.direction.usual_lr", 3),
        ("optimizer.descent", {"_target_": "tightfit.optimizers.descents.plain.Plain", "name": "plain"}),
    ],
)
def test_key_ignores_what_cannot_change_the_result(base: dict[str, Any], path: str, value: Any) -> None:
    assert run_key(changed(base, path, value)) == run_key(base)


def test_module_may_move_within_tightfit(base: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tightfit, "moved", mezo, raising=False)
    monkeypatch.setitem(sys.modules, "tightfit.moved", mezo)
    assert run_key(changed(base, "optimizer._target_", "tightfit.moved.MeZO")) == run_key(base)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 1),
        ("threads", 2),
        ("profile", "paper"),
        ("training.epochs", 5),
        ("dataset.name", "another"),
        ("dataset.train_limit", 51),
        ("optimizer.lr", 1.5),
        ("optimizer._target_", "mine.MeZO"),
        ("optimizer.direction.noise", "rademacher"),
        ("optimizer.descent", {"_target_": "tightfit.optimizers.descents.sign.Sign", "name": "plain"}),
        ("model._target_", "mine.models.lenet5"),
    ],
)
def test_key_tells_runs_apart_that_may_compute_something_else(base: dict[str, Any], path: str, value: Any) -> None:
    assert run_key(changed(base, path, value)) != run_key(base)


def test_means_of_multiplying_integers_leave_the_key(tmp_path: Path) -> None:
    keys = {run_key(config(tmp_path, model={**INTEGERS, "backend": backend})) for backend in BACKENDS}
    assert keys == {run_key(config(tmp_path, model=INTEGERS))}


def test_labels_of_several_kinds_have_one_key_in_any_order(tmp_path: Path) -> None:
    labels = {**TEXTS, "verbalizers": dict(reversed(TEXTS["verbalizers"].items()))}
    assert run_key(config(tmp_path, dataset=TEXTS)) == run_key(config(tmp_path, dataset=labels))
