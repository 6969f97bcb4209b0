"""Code of the user's own that a run is made by: its files, which are on record, and whether they have changed since."""

from __future__ import annotations

import hashlib
import inspect
import pydoc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tightfit.run.checks import targets_in

OURS = ("tightfit.", "tests.")  # what a record says by its commit


def files_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The sha256 of the file of each `_target_` in `config` that is code from outside of tightfit, by its name."""
    found = {}
    for target in sorted(targets_in(dict(config))):
        if target.startswith(OURS):
            continue
        made = pydoc.locate(target)
        try:
            file = inspect.getsourcefile(inspect.unwrap(made)) if callable(made) else None
        except TypeError:  # of a built-in
            file = None
        if file and Path(file).exists():
            found[target] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return found


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What of the code that a run was made by is other now, in a sentence; empty where nothing is."""
    others = [name for name in before.keys() & now.keys() if before[name] != now[name]]
    if not others:
        return ""
    return (
        f"the file of {', '.join(sorted(others))} has changed since; this is the result of the earlier one: say "
        "force=true to run it again"
    )
