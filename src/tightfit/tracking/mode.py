"""Whether W&B runs go online: by the configuration, else by what the environment says."""

from __future__ import annotations

import netrc
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

Mode = Literal["online", "offline", "disabled"]
MODES: dict[str, Mode] = {
    "online": "online",
    "run": "online",  # wandb's other names of the three
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
DEFAULT_URL = "https://api.wandb.ai"


def resolve_mode(mode: str, environment: Mapping[str, str]) -> Mode:
    """What `mode` means here; "auto" is WANDB_MODE where set, else online when logged in, else offline.

    Raises ValueError for an unknown mode.
    """
    if mode == "auto":
        mode = environment.get("WANDB_MODE") or ("online" if is_logged_in(environment) else "offline")
    if mode not in MODES:
        raise ValueError(f"tracker.mode={mode!r} is unknown; choose auto, online, offline or disabled")
    return MODES[mode]


def is_logged_in(environment: Mapping[str, str]) -> bool:
    """Whether there is a key for the W&B server, in WANDB_API_KEY or in the netrc file."""
    if environment.get("WANDB_API_KEY"):
        return True
    path = environment.get("NETRC") or Path(environment.get("HOME") or Path.home()) / ".netrc"
    server = urlparse(environment.get("WANDB_BASE_URL") or DEFAULT_URL).hostname
    try:
        return server in netrc.netrc(path).hosts
    except (OSError, netrc.NetrcParseError):
        return False
