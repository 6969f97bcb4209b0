"""A command as a user gives it: its exit code, and all that it says."""

import sys
from collections.abc import Callable

import pytest

from tightfit.commands import main


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    monkeypatch.setattr(sys, "path", list(sys.path))

    def said(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(words)
        told = capsys.readouterr()
        return code, told.out + told.err

    return said
