"""The parts that a resolved configuration describes, built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from tightfit.datasets.dataset import Dataset
from tightfit.optimizers.base import Optimizer
from tightfit.run.checks import check_configuration, unknown_settings_told
from tightfit.run.faults import is_expected
from tightfit.run.keys import DESCRIPTIONS

DESCRIBED = ("optimizer", "adapter")  # parts with settings that only describe them


def check_parts(config: Mapping[str, Any]) -> None:
    """Raise ValueError for what can be told of `config` to be impossible without its data and its model."""
    check_configuration(config)
    checked_device(config)
    for part in ("memory_budget", "optimizer", "adapter", "tracker"):
        build(without_descriptions(config[part]) if part in DESCRIBED else config[part])


def build(part: Mapping[str, Any], **arguments: Any) -> Any:
    """The object that `part` describes; an error in its making is raised as itself, not as Hydra's wrapping of it."""
    try:
        make = instantiate({**part, "_partial_": True})  # Hydra would turn arguments into configurations
    except InstantiationException as error:
        if error.__cause__ and is_expected(error.__cause__):
            raise error.__cause__ from None
        raise
    return make(**arguments)


def build_optimizer(config: Mapping[str, Any]) -> Optimizer:
    return build(without_descriptions(config["optimizer"]))


def without_descriptions(part: Mapping[str, Any]) -> dict[str, Any]:
    """`part` of a method without what only says something of it, in its own parts too."""
    return {
        name: without_descriptions(value) if isinstance(value, Mapping) else value
        for name, value in part.items()
        if name not in DESCRIPTIONS
    }


def choose_device(config: Mapping[str, Any]) -> torch.device:
    torch.set_num_threads(config["threads"])
    return checked_device(config)


def checked_device(config: Mapping[str, Any]) -> torch.device:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", str(config["device"])):
        raise ValueError(f"device={config['device']} is not a device to train on; choose cpu or cuda")
    device = torch.device(config["device"])
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={config['device']} but this machine has no CUDA device; choose device=cpu")
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # of products in 11 bits the losses at ±eps differ by their rounding
    return device


def build_tokenizer(config: Mapping[str, Any]) -> Any:
    """What the model reads text by; None for a model that reads none."""
    return build(config["model"]["tokenizer"]) if "tokenizer" in config["model"] else None


def build_dataset(config: Mapping[str, Any], tokenizer: Any) -> Dataset:
    """The data set, a text task in the model's tokens. Raises ValueError when only one of the two is about text."""
    is_text = "template" in config["dataset"]
    if is_text != (tokenizer is not None):
        names = [config[part]["name"] for part in ("dataset", "model")]
        kinds = ("reads text", "is not text") if tokenizer else ("reads no text", "is text")
        raise ValueError(f"model={names[1]} {kinds[0]} but dataset={names[0]} {kinds[1]}; choose two that match")
    with unknown_settings_told("dataset", config["dataset"]):
        return build(config["dataset"], **({"tokenizer": tokenizer} if is_text else {}))
