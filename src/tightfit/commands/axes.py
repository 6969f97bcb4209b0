"""The axes of an option: the groups within its part that it takes one option of, such as rule of optimizer=bp.

An axis is among the defaults of the option's file. Hydra refuses another one too, but of a sweep over options it does
not say which of them lacks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from tightfit.commands.vocabulary import NAMES, PLAIN, defaults, options
from tightfit.commands.words import WrongWords

EXPERIMENTS = "experiments"  # whose folders below hold rows, which are chosen beside any of them


def check_axes(words: Sequence[str]) -> None:
    """Raise WrongWords where `words`, all of a run's, choose on an axis that an option chosen among them lacks.

    An experiment may choose the option: then nothing is known of its axes here.
    """
    there = options()
    said = [plain for word in words if (plain := PLAIN.fullmatch(word)) and not plain["within"]]
    chosen = {plain["key"]: plain["values"] for plain in said}
    for key, values in chosen.items():
        part, _, axis = key.partition("/")
        names = chosen.get(part, "" if EXPERIMENTS in chosen else str(defaults().get(part)))
        if axis and part != EXPERIMENTS and part in defaults() and NAMES.fullmatch(names):
            check_axis(f"{key}={values}", part, axis, names.split(","), there)


def check_axis(word: str, part: str, axis: str, names: Sequence[str], there: Mapping[str, Path]) -> None:
    having = [name for name in names if axis in axes_of(f"{part}/{name}", there)]
    lacking = [name for name in names if name not in having]
    if not lacking:
        return
    known = " and ".join(axes_of(f"{part}/{lacking[0]}", there)) or "no axis"
    told = f"{word} has no place beside {part}={lacking[0]}, which has {known}"
    if having:
        apart = f"write {part}={','.join(having)} {word}, and {part}={','.join(lacking)} in a command of its own"
        raise WrongWords(f"{told}; {apart}")
    others = [option.partition("/")[2] for option in there if option.count("/") == 1 and option.startswith(f"{part}/")]
    able = [name for name in others if axis in axes_of(f"{part}/{name}", there)]
    raise WrongWords(f"{told}; leave it out, or choose {part}={' or '.join(able)}")


def axes_of(option: str, there: Mapping[str, Path]) -> list[str]:
    """The axes of `option`, such as `optimizer/bp`, and of the options that it is made from; none of others."""
    path = there.get(option)
    content = yaml.safe_load(path.read_text()) if path else None
    found = []
    for each in (content or {}).get("defaults", ()):
        if isinstance(each, str) and each != "_self_":
            name = each.partition("@")[0]
            found += axes_of(name[1:] if name.startswith("/") else f"{option.rpartition('/')[0]}/{name}", there)
        elif isinstance(each, Mapping):
            found += [name for name in each if not name.startswith(("override ", "/"))]
    return found
