"""What a command line may say for what a configuration has: plain sizes, and settings under former names."""

from __future__ import annotations

from collections.abc import Sequence

from tightfit.commands.vocabulary import check_words
from tightfit.memory.budget import with_plain_sizes

FORMER_NAMES = {
    # A direction was a name among the settings of a method before it was a part of its own.
    "optimizer.noise": "optimizer/direction",
    "optimizer.kernel": "optimizer.direction.kernel",
    # An adapter was a setting of language models, and several of P-RGE.
    "model.lora.rank": "adapter.rank",
    "model.lora.alpha": "adapter.alpha",
    "model.lora.targets": "adapter.targets",
    "model.frozen_bits": "adapter.frozen_bits",
    "optimizer.rank": "adapter.rank",
    "optimizer.alpha": "adapter.alpha",
    "optimizer.targets": "adapter.targets",
}
FORMER_WORDS = {"model.lora=null": "adapter=none"}


def in_todays_words(arguments: Sequence[str]) -> list[str]:
    """Command-line `arguments` as the configuration is spelled.

    Raises ValueError for names that are not there, where sizes of a budget and names are mixed in one sweep, and for
    what has no word today.
    """
    words = with_plain_sizes([renamed(argument) for argument in arguments])
    check_words(words)
    return words


def renamed(argument: str) -> str:
    key, equals, value = argument.partition("=")
    plain = key.lstrip("+~")
    if plain == "model.lora" and (equals, value) != ("=", "null"):
        raise ValueError("model.lora is adapter=lora now; write adapter=lora adapter.rank=… adapter.alpha=…")
    return FORMER_WORDS.get(plain + equals + value) or FORMER_NAMES.get(plain, key) + equals + value
