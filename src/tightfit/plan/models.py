"""Models for a plan: transformers by plain numbers, any other by a pass of the network that a run would build.

What a name says: an option of conf/plan/model, which holds plain numbers; one of conf/model, by the numbers that it
has or by those that are planned under the name of its maker; or a published config.json.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from tightfit.commands.words import nearest
from tightfit.memory.assumptions import Assumptions
from tightfit.memory.table import LayerTable, layer_table
from tightfit.memory.transformer import Beside, LowRank, Transformer, transformer_table, with_updates
from tightfit.models.adapters.tt import ENDS_OF_SUBLAYERS
from tightfit.plan.composed import Method, read_yaml
from tightfit.plan.published import FILE, is_place, numbers, read_published
from tightfit.plan.subject import Subject
from tightfit.records.places import CONF
from tightfit.run.checks import check_arguments, check_names, check_whole
from tightfit.run.evaluate import cross_entropy
from tightfit.run.parts import build, without_descriptions

MISSING = "???"  # what an option holds in place of a value that must be given
MOST_CLASSES = 10**5
QUERY_AND_VALUE = r"[qv]_proj$"  # what LoRA adapts of a transformer unless told otherwise
LONGEST = 2**20  # where the model itself sets no limit


@dataclass(frozen=True)
class Described:
    """A model in plain words. runs_as: the option of conf/model that it is, or empty."""

    shown: str
    numbers: Mapping[str, Any]
    runs_as: str = ""


def options() -> list[str]:
    return sorted({path.stem for folder in ("model", "plan/model") for path in (CONF / folder).glob("*.yaml")})


def described(name: str) -> Described:
    """Raises ValueError for a name that says no model, or one that cannot be planned."""
    if name not in options():
        if is_place(name):
            return Described(*read_published(name))
        raise ValueError(
            f"model={name} is not known; {nearest(name, options(), 'model=')}choose {', '.join(options())}, or write "
            "the path of a config.json of Hugging Face's form"
        )
    runs_as = CONF / "model" / f"{name}.yaml"
    if not runs_as.exists():
        return Described(name, {})
    if read_yaml(runs_as).get("name") == MISSING:
        raise ValueError(f"model={name} is any model of its kind; give the folder of its {FILE}: model=path/to/folder")
    return Described(name, {}, name)


def numbers_of(model: Described, method: Method) -> dict[str, Any]:
    """The plain numbers of `model`, which a run of `method` may say. Raises ValueError where nothing says them."""
    if model.numbers:
        return dict(model.numbers)
    maker = str(method.model.get("_target_", "")).rpartition(".")[2] if model.runs_as else ""
    for name in (model.shown, maker):
        path = CONF / "plan" / "model" / f"{name}.yaml"
        if path.exists():
            return read_yaml(path)
    if "settings" in method.model:
        content = {"model_type": method.model["architecture"], **method.model["settings"]}
        return numbers(model.shown, content)
    raise ValueError(
        f"model={model.shown} has no numbers that a plan knows; give the folder of its {FILE}: model=folder"
    )


def subject_of(model: Described, method: Method, overrides: Mapping[str, Any], a: Assumptions) -> Subject:
    """`model` by `method`. Raises ValueError for overrides that are not known, and for a method that does not fit."""
    plain = numbers_of(model, method)
    kind, longest = plain.pop("kind"), plain.pop("longest", None)
    shown = labelled(model.shown, overrides)
    if kind == "layers":
        check_names(f"the planned {model.shown}", overrides, ("classes",), "model.")
        return replace(layered(model.shown, {**plain, **overrides}, method), model=shown)
    longest = None if "positions" in overrides else longest
    check_arguments("model", Transformer, {**plain, **overrides}, ("name",))
    subject = of_transformer(Transformer(name=model.shown, **{**plain, **overrides}), method, a)
    return replace(subject, model=shown, longest=longest or subject.longest)


def labelled(model: str, overrides: Mapping[str, Any]) -> str:
    """`model`, and what was said of it besides: a row is called what was asked for."""
    changes = " ".join(f"{name}={str(value).lower()}" for name, value in overrides.items())
    return f"{model}: {changes}" if changes else model


def of_transformer(model: Transformer, method: Method, a: Assumptions) -> Subject:
    adapt = adapting(method.adapter) if method.adapter else None

    @cache
    def table(s: int) -> LayerTable:
        plain = transformer_table(model, s, a)
        return adapt(plain) if adapt else plain

    return Subject(
        model=model.name,
        optimizer=method.name,
        method=method.optimizer,
        table=table,
        assumptions=a,
        longest=model.positions or LONGEST,
        family=lambda place: of_transformer(llama2(place), method, a),
        frozen_bits=(method.adapter or {}).get("frozen_bits"),
    )


def adapting(adapter: Mapping[str, Any]) -> Callable[[LayerTable], LayerTable]:
    """What `adapter` makes of a table. Raises ValueError for one that no plain numbers describe."""
    if adapter["_target_"].endswith(".Blocks"):
        return build(without_descriptions(adapter)).planned
    updates = updates_of(adapter)
    return lambda table: with_updates(table, updates)


def updates_of(adapter: Mapping[str, Any]) -> Beside:
    """Raises ValueError for an adapter that no plain numbers describe."""
    kind, targets = str(adapter["_target_"]).rpartition(".")[2], adapter.get("targets")
    if isinstance(targets, list):  # the ends of names
        targets = "|".join(f"{re.escape(end)}$" for end in targets)
    if kind == "LoRA":
        return LowRank(adapter["rank"], targets or QUERY_AND_VALUE)
    if kind == "MPLoRA":
        return LowRank(adapter["rank"], targets or "", kind="MPLoRALinear", first_frozen=True)
    if kind == "TensorTrains":
        return build({**without_descriptions(adapter), "targets": targets or ENDS_OF_SUBLAYERS})
    raise ValueError(
        f"adapter={adapter.get('name', kind)} is not counted in transformers; choose lora, mp_lora, tt or blocks"
    )


def llama2(place: int) -> Transformer:
    """The member of the Llama-2 family with `place` blocks: 32 is the 7B, 40 the 13B.

    Heads of 128, as many as blocks; the feed-forward width is 8/3 of the width, rounded up to a multiple of 256.
    """
    width = 128 * place
    return Transformer(
        name=f"llama2_{place}x{width}",
        block="llama",
        layers=place,
        width=width,
        heads=place,
        feed_forward=256 * -(-8 * width // (3 * 256)),
        vocabulary=32000,
    )


def layered(name: str, plain: Mapping[str, Any], method: Method) -> Subject:
    """The network that a run builds, counted as a run counts it. Raises ValueError when it is none for the method."""
    check_whole("model.classes", plain["classes"], 1, MOST_CLASSES)
    arguments = {key: value for key, value in method.model.items() if key != "name"}
    network = build(arguments, classes=plain["classes"], seed=0)
    if method.adapter:
        build(without_descriptions(method.adapter)).inject(network, 0)
    method.optimizer.bind(deepcopy(network), cross_entropy, 0)
    table = layer_table(network, tuple(plain["example_shape"]))
    return Subject(model=name, optimizer=method.name, method=method.optimizer, table=lambda s: table)
