"""Low-rank updates of frozen weights (LoRA, Hu et al., 2022): new ones, or those that a folder saved by peft holds."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from tightfit.models.hf_library import extra, loaded
from tightfit.seeds import derive

LISTED = 8  # names of modules in a message


@dataclass(frozen=True)
class LoRA:
    """Low-rank updates of frozen weights. targets: the modules that get one; None is what peft knows to be usual
    for the architecture: the query and value projections."""

    rank: int = 8
    alpha: int = 16
    targets: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.rank, int) or self.rank < 1:
            raise ValueError(f"model.lora.rank={self.rank} but an update has a rank of at least 1; choose 1 or more")


def described(lora: LoRA | Mapping[str, Any] | None) -> LoRA | None:
    """`lora`, made of its settings where a command line gave these alone. Raises ValueError for one it has not."""
    if not isinstance(lora, Mapping):
        return lora
    known = [field.name for field in fields(LoRA)]
    if unknown := [name for name in lora if name not in known]:
        raise ValueError(f"model.lora.{unknown[0]} is no setting of low-rank updates; choose {', '.join(known)}")
    return LoRA(**lora)


def updates_of(lm: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in lm.named_parameters() if ".lora_" in name}


def inject(lm: Any, lora: LoRA, seed: int) -> None:
    """Put new updates into `lm`. Raises ValueError when no module is called what `lora` names, or none is usual."""
    peft = extra("peft")
    targets = None if lora.targets is None else list(lora.targets)
    config = peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=targets)
    names = dict.fromkeys(name.rpartition(".")[2] for name, part in lm.named_modules() if is_linear(part))
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of peft, on settings that its default for the architecture corrects
            torch.manual_seed(derive(seed, "LoRA"))
            peft.inject_adapter_in_model(config, lm)
    except ValueError as error:  # those of peft name neither the setting nor the modules that there are
        asked = "null, and peft knows none for this architecture" if targets is None else targets
        raise ValueError(
            f"model.lora.targets={asked}: updates find no module to belong to; choose from "
            f"{', '.join(list(names)[:LISTED])}"
        ) from error


def is_linear(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear) or type(part).__name__ == "Conv1D"  # GPT-2's linear layers


def check_saved(lm: Any, source: str, lora: LoRA | None) -> None:
    """Raise ValueError where the updates that `lm` came with cannot be kept, or are not those that `lora` asks for."""
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
    if lora is None:
        return
    saved = (config.r, config.lora_alpha)
    if (lora.rank, lora.alpha) != saved:
        raise ValueError(
            f"model.lora has rank={lora.rank}, alpha={lora.alpha}, but {source} holds a trained adapter of "
            f"rank={saved[0]}, alpha={saved[1]}; set model.lora=null to go on training it, or name its base"
        )
    targets = config.target_modules
    if lora.targets is not None and (isinstance(targets, str) or set(lora.targets) != set(targets)):
        raise ValueError(
            f"model.lora.targets={list(lora.targets)}, but {source} holds a trained adapter of "
            f"{targets if isinstance(targets, str) else sorted(targets)}; set model.lora=null to go on training it"
        )


def wrapped(part: nn.Module | None) -> nn.Module:
    return nn.ModuleList([] if part is None else [part])


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
