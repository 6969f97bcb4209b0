"""What may be written for what a configuration has: plain sizes, and settings under former names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
NO_ADAPTER = {"_target_": "tightfit.models.adapters.adapter.NoAdapter", "name": "none"}
LORA = {
    "_target_": "tightfit.models.adapters.lora.LoRA",
    "name": "lora",
    "rank": 8,
    "alpha": 16,
    "targets": None,
    "frozen_bits": None,
}
MP_LORA = {
    "_target_": "tightfit.models.adapters.mp_lora.MPLoRA",
    "name": "mp_lora",
    "rank": 16,
    "alpha": 32,
    "targets": None,
}
OF_P_RGE = ("rank", "alpha", "targets")


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


def in_todays_form(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved `config` whose adapter is a part of its own, as it was not in earlier records.

    Raises ValueError where it holds settings of an adapter that it does not choose.
    """
    todays = one_in_todays_form(config)
    smaller = config.get("smaller")
    if isinstance(smaller, Mapping):
        inner = in_todays_form({**todays, "smaller": None, **smaller})
        named = {*smaller, *(["adapter"] if inner["adapter"] != todays["adapter"] else [])}
        todays["smaller"] = {name: inner[name] for name in sorted(named)}
    return todays


def one_in_todays_form(config: Mapping[str, Any]) -> dict[str, Any]:
    model, optimizer, adapter = (config.get(part) for part in ("model", "optimizer", "adapter"))
    if isinstance(model, Mapping) and str(model.get("_target_")).startswith("tightfit.models."):
        model = dict(model)
        adapter = with_settings(adapter, LORA, taken_of_language_model(model))
    if isinstance(optimizer, Mapping) and str(optimizer.get("_target_")).endswith("p_rge.PRGE"):
        optimizer = dict(optimizer)
        settings = {name: optimizer.pop(name) for name in OF_P_RGE if name in optimizer}
        adapter = with_settings(adapter, MP_LORA, settings) or MP_LORA
    parts = {"model": model, "optimizer": optimizer}
    return {
        **config,
        **{name: part for name, part in parts.items() if name in config},
        "adapter": NO_ADAPTER if adapter is None else adapter,
    }


def taken_of_language_model(model: dict[str, Any]) -> dict[str, Any]:
    """The settings of low-rank updates that were a part of `model`, taken out of it."""
    lora, bits = model.pop("lora", None), model.pop("frozen_bits", None)
    settings = {"rank": 8, "alpha": 16, **lora} if isinstance(lora, Mapping) else {}
    settings.pop("_target_", None)
    return settings if bits is None else {**settings, "frozen_bits": bits}


def with_settings(adapter: Any, described: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """`adapter`, or the one `described` where that is none, with `settings` of it; what `adapter` sets counts first.

    Raises ValueError where `adapter` is another one.
    """
    if not settings or not isinstance(adapter, Mapping | None):
        return adapter
    if adapter in (None, NO_ADAPTER):
        return {**described, **settings}
    if adapter.get("_target_") != described["_target_"]:
        raise ValueError(
            f"{', '.join(settings)} are settings of adapter={described['name']}, but adapter={adapter.get('name')} is "
            f"chosen; choose adapter={described['name']}"
        )
    usual = {name: value for name, value in settings.items() if adapter.get(name) == described.get(name)}
    return {**adapter, **usual}
