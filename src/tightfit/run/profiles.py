"""What a shorter profile trains of an experiment: `profiles` in the experiment's file, as settings of its sweep."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tightfit.records.places import CONF, EXPERIMENTS
from tightfit.run.checks import written


def with_profile(words: Sequence[str]) -> list[str]:
    """Command-line `words` and, after the experiment's name, what its file says of their profile.

    A setting that is among `words` is left as it is there.
    Raises ValueError for a profile that does not exist, and for several where the experiment's file tells them apart.
    """
    given = {key: value for key, equals, value in (word.partition("=") for word in words) if equals}
    profile, experiment = given.get("profile", "paper"), given.get("experiments", "")
    check_profile(profile)
    own = profiles_of(experiment)
    if own and "," in profile:
        raise ValueError(f"profile={profile} are several, and {experiment} trains something else in each; name one")
    added = [f"{key}={written(value)}" for key, value in own.get(profile, {}).items() if key not in given]
    place = next((place for place, word in enumerate(words, 1) if word.startswith("experiments=")), len(words))
    return [*words[:place], *added, *words[place:]]


def check_profile(profile: str) -> None:
    """Raise ValueError for a name that is none of conf/profile; other forms are left to Hydra's grammar."""
    known = sorted(path.stem for path in (CONF / "profile").glob("*.yaml"))
    for name in profile.split(",") if re.fullmatch(r"[\w,]+", profile) and profile != "null" else ():
        if name not in known:
            raise ValueError(f"profile={name} is no profile; choose {', '.join(known[:-1])} or {known[-1]}")


def profiles_of(experiment: str) -> Mapping[str, Mapping[str, Any]]:
    """The settings of each profile that the file of `experiment` names; none without such a file."""
    path = EXPERIMENTS / f"{experiment}.yaml"
    if not experiment or not path.is_file():
        return {}
    return yaml.safe_load(path.read_text()).get("profiles", {})
