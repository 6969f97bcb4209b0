"""What kind of method made a run, in facts that the method and the model say of themselves, not in names of options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from tightfit.optimizers.base import Optimizer


def method_facts(optimizer: Optimizer, model: nn.Module, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a step of `optimizer` on `model`, which `config` describes, is made of; null where there is no such part."""
    facts = asdict(optimizer.facts())
    integer_loss = facts.pop("integer_loss")
    return {
        "backpropagates": facts["backward_passes"] > 0,
        **facts,
        "adapter": facts["adapter"] or adapter_in(config),
        "arithmetic": arithmetic_of(model) + (" with integer loss" if integer_loss else ""),
    }


def adapter_in(config: Mapping[str, Any]) -> str | None:
    """The kind of adapter that `config` puts into the model, to be trained in place of its weights."""
    part = config.get("adapter") or config["model"].get("lora")
    kind = part.get("name", "lora") if part else "none"
    return None if kind == "none" else kind


def arithmetic_of(model: nn.Module) -> str:
    """The type of most weights, such as float32 or int8."""
    elements: Counter[str] = Counter()
    for parameter in model.parameters():
        if is_lazy(parameter):  # of a size that only a forward pass will tell
            continue
        elements[str(parameter.dtype).removeprefix("torch.")] += parameter.numel()
    return max(elements, key=elements.__getitem__, default="float32")
