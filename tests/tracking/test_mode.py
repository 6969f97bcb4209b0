from __future__ import annotations

from pathlib import Path

import pytest

from tightfit.tracking.mode import resolve_mode
from tightfit.tracking.wandb import WandbTracker

KEY = {"WANDB_API_KEY": "0" * 40}


@pytest.mark.parametrize(
    ("mode", "environment", "meant"),
    [
        ("auto", {}, "offline"),
        ("auto", KEY, "online"),
        ("auto", {"WANDB_API_KEY": ""}, "offline"),
        ("auto", {"WANDB_MODE": "online"}, "online"),
        ("auto", {"WANDB_MODE": "dryrun"}, "offline"),
        ("auto", {"WANDB_MODE": "disabled", **KEY}, "disabled"),
        ("auto", {"WANDB_MODE": "offline", **KEY}, "offline"),
        ("offline", KEY, "offline"),
        ("online", {"WANDB_MODE": "offline"}, "online"),
        ("disabled", KEY, "disabled"),
    ],
)
def test_mode_is_what_was_asked_for_else_what_the_environment_says(
    mode: str, environment: dict[str, str], meant: str, tmp_path: Path
) -> None:
    assert resolve_mode(mode, {"NETRC": str(tmp_path / "missing"), **environment}) == meant


@pytest.mark.parametrize(
    ("server", "meant"),
    [({}, "online"), ({"WANDB_BASE_URL": "https://wandb.example.org"}, "offline")],
    ids=["the usual server", "another server"],
)
def test_a_netrc_entry_counts_for_its_own_server(server: dict[str, str], meant: str, tmp_path: Path) -> None:
    path = tmp_path / ".netrc"
    path.write_text("machine api.wandb.ai login user password secret\n")
    path.chmod(0o600)
    assert resolve_mode("auto", {"HOME": str(tmp_path), **server}) == meant


def test_a_broken_netrc_is_no_login(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine\n")
    assert resolve_mode("auto", {"HOME": str(tmp_path)}) == "offline"


def test_an_unknown_mode_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"tracker\.mode='on' is unknown; choose auto, online, offline or disabled"):
        WandbTracker(mode="on")
