"""Configurations as they were when runs were first recorded: their keys are taken from this form and so stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NONE = "tightfit.models.adapters.adapter.NoAdapter"
LORA = "tightfit.models.adapters.lora.LoRA"
MP_LORA = "tightfit.models.adapters.mp_lora.MPLoRA"
P_RGE = "tightfit.optimizers.p_rge.PRGE"
LORA_OF_MODELS = "tightfit.models.hf_causal_lm.LoRA"
# What these models said of low-rank updates, each for itself, where they had none.
HUB = "tightfit.models.hf_causal_lm.hf_causal_lm"
LANGUAGE_MODELS = {
    HUB: {"lora": None, "frozen_bits": None},
    "tightfit.models.hf_causal_lm.hf_masked_lm": {"lora": None},
    "tightfit.models.hf_causal_lm.random_causal_lm": {"lora": None},
    "tightfit.models.packaged.minilm_l6": {"lora": None},
    "tightfit.models.packaged.smollm2_135m": {"lora": None},
}


def with_adapter_in_its_user(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with the settings of its adapter where they were before it was a part of its own: in a language model,
    or in P-RGE. Adapters of others are left where they are, and none is left out."""
    before = {name: value for name, value in config.items() if name != "adapter"}
    adapter, model, optimizer = (config.get(part) or {} for part in ("adapter", "model", "optimizer"))
    kind, settings = adapter.get("_target_", NONE), without(adapter, "_target_", "name")
    unadapted = LANGUAGE_MODELS.get(model.get("_target_"), {})
    before["model"] = {**unadapted, **model}
    if kind == LORA and unadapted:
        bits = settings.pop("frozen_bits", None)
        lora = {name: value for name, value in settings.items() if name != "targets" or value is not None}
        before["model"] |= {"lora": {"_target_": LORA_OF_MODELS, **lora}}
        before["model"] |= {} if bits is None else {"frozen_bits": bits}
    elif kind == MP_LORA and optimizer.get("_target_") == P_RGE:
        before["optimizer"] = {**optimizer, **settings}
    elif kind != NONE:
        before["adapter"] = {"_target_": kind, **settings}
    if config.get("smaller"):
        inner = with_adapter_in_its_user({"adapter": adapter, **config["smaller"]})
        named = {*config["smaller"], "adapter"} & inner.keys()
        before["smaller"] = {name: inner[name] for name in named if inner[name] or name != "adapter"}
    return before


def without(part: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name not in names}
