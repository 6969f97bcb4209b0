"""Arguments of commands that need no composed configuration, and settings of parts that change no number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Maker = TypeVar("Maker", bound=Callable[..., object])


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


def cosmetic(*names: str) -> Callable[[Maker], Maker]:
    """Marks a maker of parts whose settings `names` change no number: they do not count in a run's key."""

    def mark(make: Maker) -> Maker:
        make.cosmetic = names  # ty: ignore[missing-attribute]
        return make

    return mark
