"""A user's own folder of options and modules is taken up without a change to the package."""

import json
import os
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from tightfit.commands import main
from tightfit.records.places import HOME

MODULE = """
from torch import nn


def mlp(classes: int, seed: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, classes))
"""
EXPERIMENT = """# @package _global_
defaults:
  - override /dataset: bars
  - override /model: mlp
experiment: mine/first
cell: {row: a, column: b}
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      seed: 0,1
"""
FILES = {
    "mine.py": MODULE,
    "model/mlp.yaml": "_target_: mine.mlp\nname: mlp\n",
    "dataset/bars.yaml": "_target_: tests.synthetic.bars\nname: bars\ntrain_limit: null\ntest_limit: null\n",
    "experiments/mine/first.yaml": EXPERIMENT,
}
SMALL = ["dataset=bars", "tracker=local", "profile=smoke", "optimizer=bp_sgd"]


@pytest.fixture(params=["mine.py in it", "mine.py beside it"])
def own(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "my_conf"
    for name, content in FILES.items():
        beside = name == "mine.py" and request.param == "mine.py beside it"
        path = tmp_path / name if beside else folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["tightfit"])
    monkeypatch.setenv("TIGHTFIT_CONF", "")  # put back by the fixture
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HOME / "src"), str(HOME)]))  # of the processes of a sweep
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    GlobalHydra.instance().clear()
    return folder


def records(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.rglob("run.json"))]


@pytest.mark.parametrize("by", ["flag", "variable", "both"])
def test_own_options_and_code_are_found_by_a_run(by: str, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flag = ["--config-dir", "../my_conf"]
    if by != "flag":
        monkeypatch.setenv("TIGHTFIT_CONF", os.pathsep.join(["../my_conf", str(own.parent / "work")]))
    if by == "variable":
        flag = []
    assert main(["run", *flag, "model=mlp", *SMALL]) == 0
    (record,) = records(Path("runs"))
    assert (record["status"], record["config"]["model"]["_target_"]) == ("finished", "mine.mlp")


def test_own_options_are_found_by_layers_and_listed_by_help(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", f"--config-dir={own}", "model=mlp", *SMALL, "csv=true"]) == 0
    assert "addmm" in capsys.readouterr().out
    assert main(["run", "--help"]) == 0
    assert "pointnet, smollm2_135m, smollm2_135m_lora, vit_tiny, mlp" in " ".join(capsys.readouterr().out.split())


def test_a_record_that_names_own_code_is_still_no_reason_to_run_it(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--config-dir", str(own), "model=mlp", *SMALL]) == 0
    (path,) = Path("runs").rglob("run.json")
    assert main(["gain", str(path.parent)]) == 2
    assert "names mine.mlp, which is no part of tightfit" in capsys.readouterr().err
    assert main(["gain", str(path.parent), "trust=true"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("own", ["mine.py beside it"], indirect=True)
def test_an_own_experiment_is_reproduced(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "mine/first", "--config-dir", str(own), *SMALL[1:]]) == 0
    assert "2 runs, 0 already ended" in capsys.readouterr().out
    assert [record["status"] for record in records(Path("runs/mine"))] == ["finished"] * 2


def test_folders_that_will_not_do_are_told(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (SMALL, ["--help"]):
        assert main(["run", "--config-dir", "nowhere", *words]) == 2
        assert "nowhere is no folder; name the one with your options, such as ./my_conf" in capsys.readouterr().err
    os.environ["TIGHTFIT_CONF"] = ""
    assert main(["run", *SMALL[1:], "--config-dir"]) == 2
    assert "--config-dir names no folder; write --config-dir=./my_conf" in capsys.readouterr().err
    (own / "optimizer").mkdir()
    (own / "optimizer" / "mezo.yaml").write_text("name: mezo\n")
    assert main(["run", "--config-dir", str(own), *SMALL]) == 2
    assert "has the name of an option that is there, optimizer/mezo; rename the file" in capsys.readouterr().err


def test_a_change_of_own_code_is_told_and_force_makes_the_run_again(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", f"--config-dir={own}", "model=mlp", *SMALL]
    place = own / "mine.py" if (own / "mine.py").exists() else own.parent / "mine.py"

    def again(*more: str) -> tuple[str, dict]:
        GlobalHydra.instance().clear()
        os.environ["TIGHTFIT_CONF"] = ""
        assert main([*words, *more]) == 0
        (record,) = Path("runs").rglob("run.json")
        return capsys.readouterr().out, json.loads(record.read_text())

    _, first = again()
    assert list(first["own_code"]) == ["mine.mlp"]  # what tests bring is told by the commit
    assert "has changed" not in again()[0]
    place.write_text(MODULE + "\n# a change\n")
    told, same = again()
    assert "already finished in " in told
    assert "the file of mine.mlp has changed since; this is the result of the earlier one: say force=true" in told
    assert same == first
    told, anew = again("force=true")
    assert "already" not in told
    assert anew["own_code"] != first["own_code"]
    assert anew["status"] == "finished"
    assert anew["key"] == first["key"]
    assert "force" not in anew["config"]
    assert "force=true" not in anew["command"]
    assert "has changed" not in again()[0]
