"""What the planner answers to words."""

import json
from typing import Any

import pytest

from tightfit.plan.__main__ import main


def plan(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert main([*words, "format=json"]) == 0
    return json.loads(capsys.readouterr().out)["rows"]


def only(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    (row,) = plan(capsys, *words)
    return row
