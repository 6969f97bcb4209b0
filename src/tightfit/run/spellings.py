"""What may be written on a command line for what a configuration has: plain sizes, and settings under former names."""

from __future__ import annotations

from collections.abc import Sequence

from tightfit.commands.vocabulary import check_words
from tightfit.memory.budget import with_plain_sizes

# A direction was a name among the settings of a method before it was a part of its own.
FORMER_NAMES = {"optimizer.noise": "optimizer/direction", "optimizer.kernel": "optimizer.direction.kernel"}


def in_todays_words(arguments: Sequence[str]) -> list[str]:
    """Command-line `arguments` as the configuration is spelled.

    Raises ValueError for names that are not there, and where sizes of a budget and names are mixed in one sweep.
    """
    words = with_plain_sizes([renamed(argument) for argument in arguments])
    check_words(words)
    return words


def renamed(argument: str) -> str:
    key, equals, value = argument.partition("=")
    return FORMER_NAMES.get(key, key) + equals + value
