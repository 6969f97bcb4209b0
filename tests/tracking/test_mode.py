from __future__ import annotations

from pathlib import Path

import pytest

from tightfit.tracking.mode import resolve_mode
from tightfit.tracking.wandb import WandbTracker, say_mode

KEY = {"WANDB_API_KEY": "0" * 40}
OTHER = "https://wandb.example.org:8080"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and an empty working folder in it."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.mark.parametrize(
    ("mode", "environment", "meant"),
    [
        ("auto", {}, "offline"),
        ("auto", KEY, "online"),
        ("auto", {"WANDB_API_KEY": ""}, "offline"),
        ("auto", {"WANDB_IDENTITY_TOKEN_FILE": "token"}, "online"),
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
    mode: str, environment: dict[str, str], meant: str, home: Path
) -> None:
    assert resolve_mode(mode, {"HOME": str(home), **environment})[0] == meant


@pytest.mark.parametrize(
    ("machine", "server", "meant"),
    [
        ("api.forge.coreweave.com", "", "online"),
        ("api.forge.coreweave.com", "https://api.forge.coreweave.com/", "online"),
        ("api.forge.coreweave.com", "https://forge.coreweave.com/api/wandb", "online"),
        ("api.wandb.ai", "", "online"),
        ("api.wandb.ai", "https://api.wandb.ai", "online"),
        ("api.forge.coreweave.com", "https://api.wandb.ai", "offline"),
        ("api.wandb.ai", OTHER, "offline"),
        ("wandb.example.org:8080", OTHER, "online"),
        ("wandb.example.org:8080", "", "offline"),
    ],
)
@pytest.mark.parametrize("place", ["WANDB_BASE_URL", ".config/wandb/settings", "work/wandb/settings"])
def test_a_netrc_entry_counts_for_its_own_server_by_either_of_its_names(
    machine: str, server: str, meant: str, place: str, home: Path
) -> None:
    (home / ".netrc").write_text(f"machine {machine}\n  login user\n  password {'0' * 40}\n")
    environment = {"HOME": str(home)}
    if place == "WANDB_BASE_URL":
        environment[place] = server
    elif server:
        (home / place).parent.mkdir(parents=True)
        (home / place).write_text(f"[default]\nbase_url = {server}\n")
    assert resolve_mode("auto", environment)[0] == meant


@pytest.mark.parametrize(
    ("settings", "environment", "meant"),
    [
        ("mode = offline", KEY, "offline"),
        ("mode = disabled", KEY, "disabled"),
        ("mode = online", {}, "offline"),
        ("mode = online", KEY, "online"),
        ("mode = offline", {"WANDB_MODE": "online"}, "online"),
        (f"api_key = {'0' * 40}", {}, "online"),
    ],
)
def test_what_wandb_wrote_into_its_settings_counts(
    settings: str, environment: dict[str, str], meant: str, home: Path
) -> None:
    (home / "settings").write_text(f"[default]\n{settings}\n")
    assert resolve_mode("auto", {"HOME": str(home), "WANDB_CONFIG_DIR": str(home), **environment})[0] == meant


@pytest.mark.parametrize("name", [".netrc", ".config/wandb/settings"])
@pytest.mark.parametrize("content", [b"machine\n", b"\xff\xfe", b"machine api.wandb.ai login user\n"])
def test_a_broken_file_is_no_login(name: str, content: bytes, home: Path) -> None:
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).write_bytes(content)
    assert resolve_mode("auto", {"HOME": str(home)})[0] == "offline"


def test_a_login_made_by_wandb_itself_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the pinned wandb: its server, and how it keeps a key for it."""
    import wandb
    from wandb.sdk.lib.wbauth import wbnetrc

    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("NETRC", raising=False)
    wbnetrc.write_netrc_auth(host=wandb.Settings().base_url, api_key="0" * 40)
    assert resolve_mode("auto", {"HOME": str(home)})[0] == "online"


def test_the_mode_that_was_chosen_is_said_once_with_its_reason(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_CONFIG_DIR", "NETRC"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(home))
    say_mode.cache_clear()
    for _ in range(2):
        WandbTracker()
    assert capsys.readouterr().out == (
        "W&B offline: not logged in to api.forge.coreweave.com; log in by `wandb login`, or leave W&B out by "
        "tracker=local\n"
    )
    WandbTracker(mode="offline")
    assert not capsys.readouterr().out


def test_an_unknown_mode_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"tracker\.mode='on' is unknown; choose auto, online, offline or disabled"):
        WandbTracker(mode="on")
