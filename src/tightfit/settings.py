"""Arguments of commands that need no composed configuration: `name=value`, or a call for help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def read_settings(arguments: Sequence[str], known: Mapping[str, str | None]) -> dict[str, str | None]:
    """The settings among `known`, which says what each is where it is left out; a value of "" must be given.

    Raises ValueError for an argument of another form, an unknown name and a missing value.
    """
    settings = dict(known)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or name not in known:
            raise ValueError(f"{argument!r} is no setting; write {' '.join(f'{name}=…' for name in known)}")
        settings[name] = value
    for name, value in settings.items():
        if value == "":
            raise ValueError(f"{name} is missing; write {name}=…")
    return settings


TRUST = "trust=true"  # said of a run whose record names code from outside tightfit


def without_trust(words: Sequence[str]) -> tuple[list[str], bool]:
    """`words` without `trust=true`, and whether it was among them."""
    return [word for word in words if word != TRUST], TRUST in words


def asks_for_help(arguments: Sequence[str]) -> bool:
    return not {"-h", "--help"}.isdisjoint(arguments)
