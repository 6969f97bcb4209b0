"""The committed results keep to the protocol; and what is asked of git, on a small history."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from analysis.protocol import comparisons
from tightfit.launch.protocol import Git, main, recorded


def test_the_committed_results_keep_to_the_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = main(), capsys.readouterr().out
    assert code == 0, said
    assert "all that is under the protocol keeps to it" in said
    for comparison in comparisons():
        assert f"{comparison.name}: " in said
    assert "elasticzo/table1[modelnet40_256_points_16_epochs_fp32, full_bp]: 1 records, not under the protocol" in said


def test_a_finding_makes_the_check_fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("analysis.protocol.comparisons", lambda: comparisons()[:1])
    monkeypatch.setattr("analysis.check.findings", lambda *_: ["a; b; c"])
    assert main() == 1
    assert capsys.readouterr().out.endswith("a; b; c\n1 findings\n")


def test_records_are_those_committed_by_the_name_that_they_have() -> None:
    assert len(recorded()["elasticzo/table1"]) >= 34


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits: the second one changes what was chosen; and one on a branch from the first."""
    folder = tmp_path / "repository"
    (folder / "experiments/paper").mkdir(parents=True)
    said(folder, "init", "-q", "-b", "main")
    commit(folder, "chosen: {mnist: {zo: {lr: 1}}}", "first")
    said(folder, "checkout", "-q", "-b", "side")
    commit(folder, "chosen: {mnist: {zo: {lr: 3}}}", "side")
    said(folder, "checkout", "-q", "main")
    commit(folder, "chosen: {mnist: {zo: {lr: 2}}}", "second")
    return folder


def said(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    return subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True).stdout


def commit(folder: Path, text: str, tag: str) -> None:
    (folder / "experiments/paper/table.yaml").write_text(text)
    said(folder, "add", "-A")
    said(folder, "commit", "-q", "-m", tag)
    said(folder, "tag", tag)


def test_a_commit_descends_from_itself_and_from_those_before_it(repository: Path) -> None:
    git = Git(repository)
    assert git.unknown == ""
    assert git.descends("second", "first")
    assert git.descends("first", "first")
    assert not git.descends("first", "second")
    assert not git.descends("side", "second")
    assert not git.descends("0123456789ab", "first")  # not in this history
    assert not git.descends("", "first")


def test_what_was_chosen_is_read_as_of_a_commit(repository: Path) -> None:
    git = Git(repository)
    assert git.chosen("paper/table", "first") == {"mnist": {"zo": {"lr": 1}}}
    assert git.chosen("paper/table", "HEAD") == {"mnist": {"zo": {"lr": 2}}}
    assert git.chosen("paper/table", "0123456789ab") is None
    assert git.chosen("paper/other", "first") is None


def test_a_shallow_clone_and_a_plain_folder_say_what_they_cannot_tell(repository: Path, tmp_path: Path) -> None:
    said(tmp_path, "clone", "-q", "--depth", "1", repository.as_uri(), "shallow")
    assert Git(tmp_path / "shallow").unknown == "this clone is shallow; git fetch --unshallow"
    (tmp_path / "plain").mkdir()
    assert Git(tmp_path / "plain").unknown == "this is no git checkout"
