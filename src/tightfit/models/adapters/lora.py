"""Low-rank updates of frozen weights (LoRA, Hu et al., 2022): new ones, or those that a folder saved by peft holds."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tightfit.models.adapters.adapter import LISTED, check_rank, linear_layers, trained_beside
from tightfit.models.adapters.frozen import FROZEN, freeze_
from tightfit.models.base import blocks_of_modules, freeze_but_, traits_of
from tightfit.models.hf_library import extra, loaded
from tightfit.numerics.seeds import derive

SAVED_AS = "base_model.model."  # what peft puts before the names of a model's weights
ANSWERS_OF_LM = "lm_head.weight"  # the few rows of an output embedding that are kept: see `keep_answers`


@dataclass(frozen=True)
class LoRA:
    """Low-rank updates of frozen weights, in float32 at least: small steps would be lost in 16 bits.

    targets: the layers that get one: the ends of their names, or a regular expression for linear layers. None: what
    peft knows to be usual for the architecture (the query and value projections), or every linear layer of a model that
    is not of the transformers library.
    frozen_bits: 8 or 4 for frozen linear layers in as many bits; None for the type that they have.
    """

    rank: int = 8
    alpha: float = 16
    targets: Sequence[str] | str | None = None
    frozen_bits: int | None = None

    def __post_init__(self) -> None:
        check_rank(self.rank, self.alpha)
        if self.frozen_bits not in (None, *FROZEN):
            raise ValueError(
                f"adapter.frozen_bits={self.frozen_bits} is not a width this freezes to; choose 8, 4 or null"
            )

    def inject(self, model: nn.Module, seed: int) -> list[str]:
        """See `Adapter`. A model that came with a trained adapter keeps it, if it is as described here."""
        inside = traits_of(model).adapted
        host, blocks = model.get_submodule(inside), blocks_of_modules(model)
        if is_adapted(host):
            check_same(self, host)
        else:
            put_into(host, model, self, seed)
            widen(host)
            host.train(host.training)  # new modules too
        if self.frozen_bits is not None:
            self._freeze_base(model, host)
        return train_updates_alone(model, blocks)

    def _freeze_base(self, model: nn.Module, host: nn.Module) -> None:
        assert self.frozen_bits is not None
        trained = {name.removeprefix(f"{traits_of(model).adapted}.") for name in traits_of(model).new}
        if not freeze_(host, self.frozen_bits, but=frozenset([*updates_of(host), *trained, ANSWERS_OF_LM])):
            raise ValueError(
                f"adapter.frozen_bits={self.frozen_bits} but this model has no layers of PyTorch's Linear; leave it"
            )


def train_updates_alone(model: nn.Module, blocks: dict[str, str]) -> list[str]:
    """Freeze the part of `model` that has updates, but for these and what is new; returns what is trained."""
    updates, beside = updates_of(model), trained_beside(model)
    trained = [name for name, _ in model.named_parameters() if name in updates or name in beside]
    freeze_but_(model, trained, blocks)
    return trained


def is_adapted(host: nn.Module) -> bool:
    """Whether `host` came with an adapter that peft saved."""
    return bool(getattr(host, "peft_config", None))


def updates_of(host: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in host.named_parameters() if ".lora_" in name}


@dataclass(frozen=True)
class Update:
    """Of a layer that computes base(x) + scale · second (first x). first: (rank, in); second: (out, rank)."""

    base: nn.Module
    first: nn.Parameter
    second: nn.Parameter
    scale: float


def plain_updates(model: nn.Module) -> dict[nn.Module, Update]:
    """The updates in `model`, by the layers that have one. Raises ValueError for one that is more than two factors."""
    layers = {name: part for name, part in model.named_modules() if len(getattr(part, "lora_A", ()))}
    return {layer: plain_update(name, layer) for name, layer in layers.items()}


def plain_update(name: str, layer: Any) -> Update:
    """That of `layer`, which peft made and which is called `name`."""
    [adapter, *others] = layer.active_adapters
    first, second, dropout = (part[adapter] for part in (layer.lora_A, layer.lora_B, layer.lora_dropout))
    draws = dropout.training and not isinstance(dropout, nn.Identity)
    is_linear = isinstance(first, nn.Linear) and second.bias is None
    if others or draws or not is_linear or layer.merged or layer.disable_adapters or adapter in layer.lora_variant:
        raise ValueError(
            f"the update of {name} is more than the product of two factors (dropout, DoRA, biases, several adapters); "
            "choose activations=checkpointed"
        )
    return Update(layer.base_layer, first.weight, second.weight, layer.scaling[adapter])


def widen(host: nn.Module) -> None:
    """Hold the updates of `host` in float32, if they are of fewer bits."""
    for parameter in updates_of(host).values():
        parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))


def put_into(host: nn.Module, model: nn.Module, lora: LoRA, seed: int) -> None:
    """Put new updates into `host`, a part of `model`. Raises ValueError when no layer is called what `lora` names."""
    peft = extra("peft")
    targets = targets_in(host, model, lora.targets)
    config = peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=targets)
    names = dict.fromkeys(name.rpartition(".")[2] for name, part in host.named_modules() if is_linear(part))
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of peft, on settings that its default for the architecture corrects
            torch.manual_seed(derive(seed, "LoRA"))
            peft.inject_adapter_in_model(config, host)
    except ValueError as error:  # those of peft name neither the setting nor the modules that there are
        asked = "null, and peft knows none for this architecture" if targets is None else targets
        raise ValueError(
            f"adapter.targets={asked}: updates find no module to belong to; "
            f"choose from {', '.join(list(names)[:LISTED])}"
        ) from error


def targets_in(host: nn.Module, model: nn.Module, targets: Sequence[str] | str | None) -> list[str] | str | None:
    """What peft is told of the layers in `host`: ends of names, an expression for whole names, or None for its own."""
    if targets is not None and not isinstance(targets, str):
        return list(targets)
    if targets is None and host is not model:  # of the transformers library
        return None
    inside = traits_of(model).adapted
    names = [name.removeprefix(f"{inside}.") for name in linear_layers(model, targets)]
    return "|".join(map(re.escape, names))


def is_linear(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear) or type(part).__name__ == "Conv1D"  # GPT-2's linear layers


def check_saved(lm: Any, source: str) -> None:
    """Raise ValueError where the updates that `lm` came with from `source` cannot be kept."""
    config = next(iter(lm.peft_config.values()))
    kind = getattr(config.peft_type, "value", config.peft_type)
    if len(lm.peft_config) != 1 or kind != "LORA":
        raise ValueError(
            f"{source} holds an adapter of type {kind}, but one of LORA can be trained; name such a folder"
        )
    if config.modules_to_save or config.bias != "none" or updates_of(wrapped(lm.get_output_embeddings())):
        raise ValueError(
            f"{source} holds an adapter that changes more than layers before the answers (modules_to_save="
            f"{config.modules_to_save}, bias={config.bias}), which would be lost; merge it into its base and name that"
        )


def check_same(lora: LoRA, host: Any) -> None:
    """Raise ValueError where the updates that `host` came with are not those that `lora` asks for."""
    config = next(iter(host.peft_config.values()))
    saved, targets = (config.r, config.lora_alpha), config.target_modules
    if (lora.rank, lora.alpha) != saved:
        raise ValueError(
            f"adapter has rank={lora.rank}, alpha={lora.alpha}, but the model came with a trained adapter of "
            f"rank={saved[0]}, alpha={saved[1]}; choose adapter=none to go on training it, or name its base"
        )
    if lora.targets is not None and (isinstance(targets, str) or set(lora.targets) != set(targets)):
        raise ValueError(
            f"adapter.targets={list(lora.targets)}, but the model came with a trained adapter of "
            f"{targets if isinstance(targets, str) else sorted(targets)}; choose adapter=none to go on training it"
        )


def wrapped(part: nn.Module | None) -> nn.Module:
    return nn.ModuleList([] if part is None else [part])


def put_saved(lm: Any, source: str) -> None:
    """Put updates into `lm`, a model with a head, as peft saved them in `source`, with or without a head.

    Their numbers are set by `read_saved` and `read_head`. Raises ValueError where they cannot be kept.
    """
    peft = extra("peft")
    config = loaded(source, lambda: peft.PeftConfig.from_pretrained(source))
    config.modules_to_save = None
    with torch.random.fork_rng(devices=[]):
        peft.inject_adapter_in_model(config, lm)
    check_saved(lm, source)
    lm.base_model.peft_config = lm.peft_config  # that of the part that they are in


def read_head(head: Mapping[str, nn.Parameter], source: str) -> None:
    """Set `head`, by its names in the model of transformers, to what peft saved of it in `source`, where the shapes are
    the same. Raises ValueError for something else that was saved whole, which would be lost."""
    utilities = extra("peft.utils")
    saved = loaded(source, lambda: utilities.load_peft_weights(source, device="cpu"))
    whole = {key.removeprefix(SAVED_AS): each for key, each in saved.items() if ".lora_" not in key}
    if odd := sorted(whole.keys() - head.keys()):
        raise ValueError(
            f"{source} holds an adapter with {odd[0]}, which would be lost; merge it into its base and name that"
        )
    with torch.no_grad():
        for name, each in whole.items():
            if each.shape == head[name].shape:
                head[name].copy_(each)


def read_saved(lm: Any, source: str) -> None:
    """Set the updates in `lm` to the numbers in `source`, in float32: with its base they were rounded to its type.

    Raises ValueError when one of them is not there.
    """
    utilities = extra("peft.utils")
    saved = loaded(source, lambda: utilities.load_peft_weights(source, device="cpu"))
    for name, parameter in updates_of(lm).items():
        plain = name.replace(f".{next(iter(lm.peft_config))}", "")
        found = [weights for key, weights in saved.items() if f".{key}".endswith((f".{plain}", f".{plain[:-7]}"))]
        if len(found) != 1 or found[0].shape != parameter.shape:
            raise ValueError(f"{source} holds an adapter without {plain}; save it again with the peft that made it")
        parameter.data = found[0].float()
