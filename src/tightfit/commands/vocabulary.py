"""The words that a run knows: the options in conf/, in experiments/ and in the user's own folders, and its settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tightfit.commands.words import WrongWords, nearest, unknown
from tightfit.records.places import CONF, EXPERIMENTS, own_folders

OTHERS = ("plan", "hydra")  # folders of conf/ that are no part of a run
# A word that chooses an option or sets a value: none that adds (+, ++) or removes (~), and no flag of Hydra's.
PLAIN = re.compile(r"(?P<key>[\w/]+)(@[\w.]*)?(?P<within>\.[\w.]+)?=(?P<values>.*)", re.DOTALL)
NAMES = re.compile(r"[\w./-]+(,[\w./-]+)*")
NULL_LABEL = re.compile(r"[^=]*=.*[{,]\s*null\s*:.*", re.DOTALL | re.IGNORECASE)
UNSAID = "smaller"  # set by experiments alone
# What an experiment's file says for its readers and for the settings that refer to it; no run has it of its own.
TABLES = ("rows", "given", "box", "trial", "chosen", "profiles")


def options() -> dict[str, Path]:
    """The file of every option, by group and name, such as `optimizer/mezo`.

    Raises WrongWords where a user's option has the name of one that is there, which would be taken in its place.
    """
    found: dict[str, Path] = {}
    for folder in (CONF, EXPERIMENTS, *own_folders()):
        for path in sorted(folder.rglob("*.yaml")):
            option = path.relative_to(EXPERIMENTS.parent if folder == EXPERIMENTS else folder).with_suffix("")
            if len(option.parts) == 1 or option.parts[0] in OTHERS or path.parent == EXPERIMENTS:
                continue  # in experiments/ itself there is none, but what is said of all
            if option.as_posix() in found:
                raise WrongWords(f"{path} has the name of an option that is there, {option}; rename the file")
            found[option.as_posix()] = path
    return found


@cache
def defaults() -> Mapping[str, Any]:
    """The parts of a run with the options that are taken, and its settings with their values, where nothing is said."""
    import yaml

    plain = yaml.safe_load((CONF / "config.yaml").read_text())
    listed = {name: value for each in plain.pop("defaults") if isinstance(each, dict) for name, value in each.items()}
    parts = {name: value for name, value in listed.items() if not name.startswith("override ")}
    return {**parts, **{name: value for name, value in plain.items() if name != "hydra"}}


def check_words(words: Sequence[str]) -> None:
    """Raise WrongWords for a plain word that sets what no run has, or chooses an option that is not there, and for a
    word with a name that can be no label."""
    there = options()
    groups = {parent.as_posix() for option in there for parent in Path(option).parents[:-1]}
    known = [*defaults(), UNSAID, *TABLES]
    for word in words:
        if NULL_LABEL.fullmatch(word):
            raise WrongWords(
                f"{word} gives null a value, and null is no label here: rows without one are to be left out; the text "
                'null is a label in an option of your own (--config-dir), as "null": …'
            )
        said = PLAIN.fullmatch(word)
        if said is None or said["key"].split("/")[0] == "hydra":
            continue
        key, values = said["key"], said["values"]
        if key not in groups and key not in known:
            told = unknown("a run", key, sorted({*known, *groups}) if "/" in key else known)
            raise WrongWords(f"Could not override '{key}': {told}")
        if key in groups and not said["within"] and NAMES.fullmatch(values):
            check_options(key, values.split(","), there)


def check_options(group: str, names: Sequence[str], there: Mapping[str, Path]) -> None:
    choices = [option.removeprefix(f"{group}/") for option in there if option.startswith(f"{group}/")]
    is_experiment = group == "experiments"
    for name in names:
        if name not in (*choices, "null"):
            meant = nearest(name, choices, "" if is_experiment else f"{group}=")
            own = ", ".join(choice for choice in choices if "/" not in choice)
            listed = "tightfit reproduce --help lists them" if is_experiment else f"choose {own}"
            raise WrongWords(f"Could not find '{group}/{name}'; {meant}{listed}")
