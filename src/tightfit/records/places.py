"""Where this program keeps what is no code, its configurations and its experiments, and where a user adds to them."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parents[1]
# A checkout has conf/, experiments/ and analysis/ at its top; an installed package has them in it.
IS_CHECKOUT = (CHECKOUT / "conf" / "config.yaml").exists()
HOME = CHECKOUT if IS_CHECKOUT else PACKAGE
CONF, EXPERIMENTS = HOME / "conf", HOME / "experiments"
OWN = "TIGHTFIT_CONF"  # the user's folders of configurations, as in PATH


def own_folders() -> list[Path]:
    """The user's folders of configurations, each once. Raises ValueError for one that is not there."""
    folders = [Path(name) for name in os.environ.get(OWN, "").split(os.pathsep) if name]
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{OWN}={folder} is no folder; name the one with your options, such as ./my_conf")
    return list(dict.fromkeys(folder.resolve() for folder in folders))


def add_own_code() -> None:
    """Let modules in the current folder, in the user's folders of configurations and beside these be imported."""
    folders = [Path.cwd(), *(place for folder in own_folders() for place in (folder, folder.parent))]
    sys.path += [place for place in map(str, folders) if place not in sys.path]


def analysis(name: str) -> ModuleType:
    """The module `name` of analysis/, which in a checkout lies beside src/ and in an installed package in it."""
    if not IS_CHECKOUT:
        return importlib.import_module(f"tightfit.analysis.{name}")
    if str(HOME) not in sys.path:
        sys.path.insert(0, str(HOME))
    return importlib.import_module(f"analysis.{name}")
