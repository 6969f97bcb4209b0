"""What a fresh machine relies on: targets that need nothing beforehand, and a pinned set that fits pyproject.toml."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [
    Requirement(line)
    for group in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for line in group
]
CONSTRAINTS = (ROOT / "constraints.txt").read_text().splitlines()
TARGETS = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VENV", "PROFILE", "PY")  # of the make that may be running the tests
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def pins() -> dict[str, str]:
    return {canonicalize_name(name): pin for name, pin in (line.split("==") for line in CONSTRAINTS)}


def test_make_alone_lists_every_target_with_its_meaning():
    listed = dict(re.findall(r"^  ([a-z0-9-]+) +(\S.*)$", make().stdout, re.MULTILINE))
    assert list(listed) == TARGETS


@pytest.mark.parametrize("target", [target for target in TARGETS if target not in ("help", "clean")])
def test_every_target_makes_the_missing_environment_first(target: str, tmp_path: Path):
    commands = make("--dry-run", target, f"VENV={tmp_path}/venv").stdout.splitlines()
    assert commands[0] == f"sh setup.sh {tmp_path}/venv"


def test_the_environment_is_made_again_only_when_what_it_is_made_from_has_changed(tmp_path: Path):
    stamp = tmp_path / ".stamp"
    stamp.touch()
    assert make("--question", str(stamp), f"VENV={tmp_path}").returncode == 0
    os.utime(stamp, (0, 0))
    assert make("--question", str(stamp), f"VENV={tmp_path}").returncode == 1


def test_set_up_without_a_supported_python_says_which_and_how_to_name_one(tmp_path: Path):
    answer = make("setup", f"VENV={tmp_path}/venv", "PY=false")
    assert answer.returncode != 0
    assert "no Python 3.11 to 3.14 found (tried false)" in answer.stderr
    assert "make setup PY=/path/to/python" in answer.stderr
    assert not (tmp_path / "venv").exists()


def test_a_pin_is_one_public_version_that_any_machine_can_have():
    """No +cpu, no path, no range."""
    assert [line for line in CONSTRAINTS if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line)] == []


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_dependency_is_pinned_within_its_range(requirement: Requirement):
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


# torch may be any build of its version; a cluster's Ray is not of what set-up installs.
@pytest.mark.parametrize("requirement", [each for each in REQUIREMENTS if each.name not in ("torch", "ray")], ids=str)
def test_the_tests_run_with_the_pinned_version(requirement: Requirement):
    assert version(requirement.name) == pins()[canonicalize_name(requirement.name)]


def test_set_up_shares_a_torch_exactly_in_the_range_of_pyproject():
    (torch,) = (each.specifier for each in REQUIREMENTS if each.name == "torch")
    bounds = re.search(r"\((\d+), (\d+)\) <= tuple\(.*\) < \((\d+), (\d+)\)", (ROOT / "setup.sh").read_text())
    assert bounds is not None
    assert str(torch) == "<{2},>={0}.{1}".format(*bounds.groups())
