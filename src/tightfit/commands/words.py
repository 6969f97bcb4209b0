"""The one grammar of the command line: `name=value`, and things that go by no name, such as folders.

A word of former times, `--name value`, `--name=value` or `--name`, is read as `name=value`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

TRUST = "trust=true"  # said of a run whose record names code from outside tightfit
HELP = ("-h", "--help")


class WrongWords(ValueError):
    """What was said cannot be done, and nothing was done."""


def text(said: str) -> str:
    return said


def truth(said: str) -> bool:
    if said not in ("true", "false"):
        raise WrongWords("is neither true nor false")
    return said == "true"


def whole_number(said: str) -> int:
    if not (said.isascii() and said.isdecimal()) or int(said) < 1:
        raise WrongWords("is no whole number from 1; choose one")
    return int(said)


def fraction(said: str) -> float:
    try:
        number = float(said)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1:
        raise WrongWords("is no fraction from 0 to less than 1; choose one")
    return number


def one_of_so_many(said: str) -> tuple[int, int]:
    """`3/100` as (3, 100)."""
    number, _, count = said.partition("/")
    digits = number.isdecimal() and count.isdecimal() and said.isascii()
    if not digits or not 1 <= int(number) <= int(count):
        raise WrongWords("is no share; write one such as 3/100, the third of a hundred")
    return int(number), int(count)


@dataclass(frozen=True)
class Word:
    """A setting `name=value` of a verb: what it means, what holds where it is left out, and how its value is read."""

    name: str
    meaning: str
    default: str | None = None
    read: Callable[[str], Any] = text
    is_needed: bool = False


@dataclass(frozen=True)
class Said:
    """What was said to a verb: things that go by no name, a value for each of its settings, and a run's words."""

    named: list[str]
    settings: Mapping[str, Any]
    of_a_run: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verb:
    """One of the things that `tightfit` does.

    does: in a sentence. module: where its `main(words)` is. named: what is said by no name, such as an experiment.
    takes_a_run: whether the words of a run, which Hydra reads, may be said too. former: the module it used to be.
    """

    name: str
    does: str
    module: str
    words: tuple[Word, ...] = ()
    named: str = ""
    such_as: str = ""
    takes_a_run: bool = False
    about: str = ""
    examples: tuple[str, ...] = ()
    former: str = ""

    def read(self, words: Sequence[str]) -> Said:
        """What `words` say. Raises WrongWords for an unknown setting, a value of another kind and a missing one."""
        known = {word.name: word for word in self.words}
        values = {word.name: None if word.default is None else word.read(word.default) for word in self.words}
        named, of_a_run = [], []
        for said in without_flags(words, known):
            name, equals, value = said.partition("=")
            if equals and name in known:
                values[name] = value_of(known[name], value)
            elif said.startswith("-") or not (self.takes_a_run or (self.named and not equals)):
                raise WrongWords(unknown(self.name, name, known))
            else:
                (named if self.named and not equals else of_a_run).append(said)
        for word in self.words:
            if word.is_needed and values[word.name] is None:
                raise WrongWords(f"{word.name} is missing; write {word.name}=…")
        if self.named and not named:
            raise WrongWords(f"name at least one {self.named}, such as {self.such_as}")
        return Said(named, values, of_a_run)


def value_of(word: Word, said: str) -> Any:
    if said == "":
        raise WrongWords(f"{word.name} is missing; write {word.name}=…")
    try:
        return word.read(said)
    except WrongWords as error:
        raise WrongWords(f"{word.name}={said} {error}") from None


def without_flags(words: Sequence[str], known: Mapping[str, Word]) -> Iterator[str]:
    """`words` with `--name value`, `--name=value` and, for what is true or false, `--name` as `name=value`."""
    rest = iter(words)
    for word in rest:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in known:
            yield word
        elif equals:
            yield f"{name}={value}"
        else:
            yield f"{name}={'true' if known[name].read is truth else next(rest, '')}"


def unknown(what: str, name: str, known: Collection[str], within: str = "") -> str:
    """That `what` has no setting `name`, and the one that may be meant."""
    return f"{within}{name} is no setting of {what}; {nearest(name, known, within)}it has {', '.join(known) or 'none'}"


def nearest(name: str, known: Collection[str], within: str = "") -> str:
    """What may be meant by `name`, as part of a sentence; empty where nothing is near."""
    found = get_close_matches(name.removeprefix("--"), known, n=1)
    return f"write {within}{found[0]}; " if found else ""


def asks_for_help(words: Sequence[str]) -> bool:
    return not set(HELP).isdisjoint(words)
