"""The package as pip installs it, outside the checkout: every file it needs is there, and its commands run."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tightfit.records.places import HOME

pytestmark = pytest.mark.slow
TREE = ("src", "conf", "experiments", "analysis", "pyproject.toml", "setup.py", "README.md", "LICENSE")
OWN_DATA = """
import torch

from tightfit.datasets.dataset import Dataset, Examples


def bars(name: str, train_limit: int | None = None, test_limit: int | None = None) -> Dataset:
    del train_limit, test_limit
    labels = torch.arange(96) % 10
    inputs = torch.zeros(96, 1, 28, 28, dtype=torch.uint8)
    for image, label in zip(inputs, labels, strict=True):
        image[0, 2 * label : 2 * label + 4] = 255
    examples = Examples(inputs, labels)
    return Dataset(name, 10, examples, examples, "test", 0.3, 0.3, "made", {"inputs": "none"}, {})
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the checkout keeps no trace of it."""
    copy, built = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in TREE:
        if (HOME / name).is_dir():
            shutil.copytree(HOME / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(HOME / name, copy / name)
    pip("wheel", str(copy), "--no-build-isolation", "--wheel-dir", str(built))
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def place(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed package in `site`, and with a user's own data set, within a repository of its own."""
    folder = tmp_path_factory.mktemp("place")
    pip("install", str(wheel), "--target", str(folder / "site"))
    (folder / "my_conf" / "dataset").mkdir(parents=True)
    (folder / "my_conf" / "mine.py").write_text(OWN_DATA)
    (folder / "my_conf" / "dataset" / "bars.yaml").write_text("_target_: mine.bars\nname: bars\n")
    author = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "my_conf"], [*author, "commit", "-qm", "Own data"]):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
    return folder


def pip(verb: str, *words: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", verb, "--quiet", "--no-deps", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def tightfit(place: Path, *words: str) -> str:
    """What the installed command says."""
    unsaid = ("TIGHTFIT_RUNS", "TIGHTFIT_ROOT")
    environment = {name: value for name, value in os.environ.items() if name not in unsaid}
    environment |= {"PYTHONPATH": str(place / "site"), "TIGHTFIT_CONF": "my_conf", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(place / "site" / "bin" / "tightfit"), *words]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_has_every_file_of_the_checkout_in_the_package(wheel: Path) -> None:
    there = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    folders = {"src": "", **{name: f"tightfit/{name}/" for name in ("conf", "experiments", "analysis")}}
    expected = {
        within + path.relative_to(HOME / folder).as_posix()
        for folder, within in folders.items()
        for path in (HOME / folder).rglob("*")
        if path.suffix in (".py", ".yaml", ".csv", ".jsonl", ".md") and "egg-info" not in str(path)
    }
    assert expected - there == set()
    assert "hydra_plugins/tightfit_launcher/__init__.py" in there
    assert {name.split("/")[0] for name in there} == {"tightfit", "hydra_plugins"}


def test_the_installed_command_plans_and_runs_with_a_users_own_options(place: Path) -> None:
    assert "smollm2_135m" in tightfit(place, "plan")
    words = ("dataset=bars", "optimizer=bp_sgd,mezo", "profile=smoke", "tracker=local", "hydra/launcher=all_cores")
    assert "2 runs, " in tightfit(place, "run", *words)
    records = [json.loads(path.read_text()) for path in (place / "runs" / "scratch").rglob("run.json")]
    assert [(record["status"], record["dataset"]["name"]) for record in records] == [("finished", "bars")] * 2
    assert {record["commit"] for record in records} == {""}


def test_the_installed_command_reproduces_a_table_under_the_current_folder(place: Path) -> None:
    said = tightfit(place, "reproduce", "elasticzo/table1", "dataset=bars", "profile=smoke", "tracker=local", "jobs=2")
    assert "ElasticZO, Table 1: accuracy in %. SMOKE PROFILE" in said
    assert "bars_fp32" in said
    assert (place / "runs" / "report" / "elasticzo" / "table1.md").exists()
    assert len(list((place / "runs" / "elasticzo" / "table1").rglob("run.json"))) == 4
