"""Whether W&B runs go online: by the configuration, else by what wandb would find here.

The rules are those of wandb 0.31. They are repeated because importing wandb takes a second of each run's start.
"""

from __future__ import annotations

import configparser
import netrc
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

Mode = Literal["online", "offline", "disabled"]
MODES: dict[str, Mode] = {
    "online": "online",
    "run": "online",  # wandb's other names of the three
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
DEFAULT_URL = "https://api.forge.coreweave.com"
# The hosts that moved, each with its former name: a key kept for that one is good for both.
MOVED = {"api.forge.coreweave.com": "api.wandb.ai", "api.qa.forge.coreweave.com": "api.qa.wandb.ai"}


def resolve_mode(mode: str, environment: Mapping[str, str]) -> tuple[Mode, str]:
    """What `mode` means here and, where "auto" left it open, why.

    "auto" is WANDB_MODE where set, else what `wandb offline` or `wandb disabled` wrote into wandb's settings, else
    online when logged in, else offline. Raises ValueError for an unknown mode.
    """
    why = ""
    if mode == "auto":
        mode, why = automatic(environment)
    if mode not in MODES:
        raise ValueError(f"tracker.mode={mode!r} is unknown; choose auto, online, offline or disabled")
    return MODES[mode], why


def automatic(environment: Mapping[str, str]) -> tuple[str, str]:
    if mode := environment.get("WANDB_MODE"):
        return mode, "by WANDB_MODE"
    settings = settings_files(environment)
    if MODES.get(settings.get("mode", ""), "online") != "online":
        return settings["mode"], "by wandb's settings file"
    host, how = login(environment)
    if how:
        return "online", f"logged in to {host} by {how}"
    return "offline", f"not logged in to {host}; log in by `wandb login`, or leave W&B out by tracker=local"


def login(environment: Mapping[str, str]) -> tuple[str, str]:
    """The host of the server, and by what wandb would log in to it; empty where nobody is logged in."""
    settings = settings_files(environment)
    server = environment.get("WANDB_BASE_URL") or settings.get("base_url") or DEFAULT_URL
    host = urlsplit(server).netloc
    host = f"api.{host}" if f"api.{host}" in MOVED else host  # the server's web address stands for its API
    for variable in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        if environment.get(variable):
            return host, variable
    if settings.get("api_key"):
        return host, "wandb's settings file"
    path = netrc_path(environment)
    return host, str(path) if has_password(path, host) else ""


def settings_files(environment: Mapping[str, str]) -> dict[str, str]:
    """What wandb's settings files say, the user's first and then, which wins, the one of the working folder."""
    folder = environment.get("WANDB_CONFIG_DIR")
    users = Path(folder).expanduser() if folder else home(environment) / ".config" / "wandb"
    local = Path(".wandb" if Path(".wandb").exists() else "wandb")
    parser = configparser.ConfigParser(interpolation=None)
    for path in (users / "settings", local / "settings"):
        try:
            parser.read(path)
        except (OSError, configparser.Error, UnicodeDecodeError):
            continue  # wandb warns of it
    return dict(parser["default"]) if parser.has_section("default") else {}


def netrc_path(environment: Mapping[str, str]) -> Path:
    if path := environment.get("NETRC"):
        return Path(path).expanduser()
    usual, windows = home(environment) / ".netrc", home(environment) / "_netrc"
    return windows if windows.exists() and not usual.exists() else usual


def has_password(path: Path, host: str) -> bool:
    """Whether the netrc file at `path` has a password for `host` or for its former name."""
    try:
        kept = netrc.netrc(path)
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return False
    entries = [kept.authenticators(name) for name in (host, MOVED.get(host, host))]
    return any(entry is not None and entry[2] for entry in entries)


def home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or Path.home())
