"""The words of a command line, as what is asked: every combination of the devices, models, methods and sizes named.

Options are files of plain numbers under conf/plan/; `device.KEY=`, `model.KEY=`, `optimizer.KEY=` and
`assumptions.KEY=` override what they say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tightfit.commands.verbs import PLAN
from tightfit.memory.budget import is_size
from tightfit.memory.transformer import Assumptions, Transformer
from tightfit.plan.answer import Answer, answer
from tightfit.plan.published import is_place, read_published
from tightfit.plan.subject import Device, Subject
from tightfit.plan.transformers import transformer_subject
from tightfit.records.places import CONF
from tightfit.settings import nearest

GROUPS = ("device", "model", "optimizer")
DEFAULTS = {word.name: word.default or "" for word in PLAN.words}
FORMATS = ("table", "json", "csv")
OVERRIDABLE = (*GROUPS, "assumptions")
METHOD_NUMBERS = ("rank", "bp_layers")
MOST = 10**9  # of any number but a device's: no model or batch has more
MOST_OF = {"layers": 10**4, "classes": 10**5}
FLAGS = tuple(field.name for field in fields(Transformer) if field.default is False)
KINDS = {bool: "true or false", str: "a word", int: "a whole number", int | float: "a number", str | int: "a size"}


@dataclass(frozen=True)
class Question:
    """What was asked: names and sizes, each a list, and the overrides by group."""

    names: Mapping[str, tuple[str, ...]]
    sequence_lengths: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    format: str
    picture: str
    overrides: Mapping[str, Mapping[str, Any]]


def parse(words: Sequence[str]) -> Question:
    """Raises ValueError for a word that is no `KEY=VALUE`, a key that is not known, or a size that is no number."""
    values, overrides = dict(DEFAULTS), {group: {} for group in OVERRIDABLE}
    for word in words:
        key, equals, value = word.partition("=")
        group, _, name = key.partition(".")
        if not equals:
            raise ValueError(f"{word!r} says no value; write KEY=VALUE, such as model=llama2_7b")
        if key in values:
            values[key] = value
        elif group in OVERRIDABLE and name:
            overrides[group][name] = value_of(value)
        else:
            choice = f"choose {', '.join(values)} or {'., '.join(OVERRIDABLE)}.…"
            raise ValueError(f"{key} is not a key of a plan; {nearest(key, values)}{choice}")
    if values["format"] not in FORMATS:
        raise ValueError(f"format={values['format']!r} is not a format; choose {', '.join(FORMATS)}")
    return Question(
        names={group: tuple(values[group].split(",")) for group in GROUPS},
        sequence_lengths=whole_numbers("dataset.sequence_length", values["dataset.sequence_length"]),
        batch_sizes=whole_numbers("training.batch_size", values["training.batch_size"]),
        format=values["format"],
        picture=values["picture"],
        overrides=overrides,
    )


def value_of(text: str) -> bool | float | str:
    """`text` as what it says: true or false, a whole number, a number, or a word."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def whole_numbers(key: str, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{key}={text} is not a whole number; write one, or several with commas") from None
    if min(numbers) < 1:
        raise ValueError(f"{key}={text} but a step needs at least one; choose 1 or more")
    if max(numbers) > MOST:
        raise ValueError(f"{key}={str(max(numbers))[:15]}… is beyond any step; choose {MOST:,} or fewer")
    return numbers


def answers(question: Question) -> Iterator[Answer]:
    """A row for each combination, in the order of the words."""
    refuse_unused(question)
    for device_name in question.names["device"]:
        device = read_device(device_name, question.overrides["device"])
        for model in question.names["model"]:
            for optimizer in question.names["optimizer"]:
                subject = read_subject(model, optimizer, question.overrides)
                for s in question.sequence_lengths[: None if subject.longest else 1]:
                    check_length(subject, s)
                    for b in question.batch_sizes:
                        yield answer(subject, device, s if subject.longest else 0, b)


def check_length(subject: Subject, s: int) -> None:
    if 0 < subject.longest < s:
        raise ValueError(
            f"sequence_length={s} but {subject.model} has {subject.longest} positions; choose 1–{subject.longest}"
        )


def refuse_unused(question: Question) -> None:
    """Raise ValueError for a number that none of the methods asked for takes."""
    taken = {name for optimizer in question.names["optimizer"] for name in read_option("optimizer", optimizer)}
    for name in question.overrides["optimizer"]:
        if name not in METHOD_NUMBERS:
            raise ValueError(f"optimizer.{name} is not known; choose {', '.join(METHOD_NUMBERS)}")
        if name not in taken:
            raise ValueError(f"optimizer.{name} but {', '.join(question.names['optimizer'])} takes none; leave it out")


def read_device(name: str, overrides: Mapping[str, Any]) -> Device:
    """The device `name`, or one of that many bytes where `name` is a size such as 17GB."""
    plain = {"memory": name} if is_size(name) else read_option("device", name)
    return Device(name=name, **overridden("device", plain, overrides, known(Device)))


def read_subject(model: str, optimizer: str, overrides: Mapping[str, Mapping[str, Any]]) -> Subject:
    """Raises ValueError for names or overrides that are not known, and for a method that is not for the model."""
    shown, described = read_model(model)
    method = read_option("optimizer", optimizer)
    own = {name: method[name] for name in METHOD_NUMBERS if name in method}
    spoken = {name: value for name, value in overrides["optimizer"].items() if name in own}
    method |= overridden("optimizer", own, spoken, METHOD_NUMBERS)
    assumptions = read_assumptions(method, overrides["assumptions"])
    kind, longest = described.pop("kind"), described.pop("longest", None)
    if "positions" in overrides["model"]:
        longest = None
    if kind == "transformer":
        network = overridden("model", described, overrides["model"], known(Transformer))
        subject = transformer_subject(Transformer(name=shown, **network), optimizer, method, assumptions)
    else:
        network = overridden("model", described, overrides["model"], ("classes",))
        subject = read_layered(model, network, optimizer, method)
    return replace(subject, model=labelled(shown, overrides["model"]), longest=longest or subject.longest)


def read_model(model: str) -> tuple[str, dict[str, Any]]:
    """The name to show and the description of an option, of a config.json or of a folder with one."""
    if model not in options("model") and is_place(model):
        return read_published(model)
    return model, read_option("model", model)


def labelled(model: str, overrides: Mapping[str, Any]) -> str:
    """`model`, and what was said of it besides: a row is called what was asked for."""
    changes = " ".join(f"{name}={str(value).lower()}" for name, value in overrides.items())
    return f"{model}: {changes}" if changes else model


def read_layered(model: str, described: Mapping[str, Any], optimizer: str, method: dict[str, Any]) -> Subject:
    from tightfit.plan.layered import layered_subject  # waits for torch, which no transformer needs

    runnable = CONF / "optimizer" / f"{optimizer}.yaml"
    if not runnable.exists():
        fitting = [name for name in options("optimizer") if (CONF / "optimizer" / f"{name}.yaml").exists()]
        raise ValueError(f"optimizer={optimizer} is planned for transformers, not {model}; choose {', '.join(fitting)}")
    method["run"] = {**read_yaml(runnable), **{name: method[name] for name in METHOD_NUMBERS if name in method}}
    return layered_subject(model, described, read_yaml(CONF / "model" / f"{model}.yaml"), optimizer, method)


def read_assumptions(method: Mapping[str, Any], overrides: Mapping[str, Any]) -> Assumptions:
    plain = {**read_yaml(CONF / "plan" / "assumptions.yaml"), **method["assumptions"]}
    return Assumptions(**overridden("assumptions", plain, overrides, known(Assumptions)))


def assumptions_of(question: Question) -> dict[str, Assumptions]:
    """What each method's closed forms rest on."""
    return {
        name: read_assumptions(read_option("optimizer", name), question.overrides["assumptions"])
        for name in question.names["optimizer"]
    }


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / "plan" / group).glob("*.yaml"))


def read_option(group: str, name: str) -> dict[str, Any]:
    if name not in options(group):
        found = options(group)
        raise ValueError(f"{group}={name} is not known; {nearest(name, found, f'{group}=')}choose {', '.join(found)}")
    return read_yaml(CONF / "plan" / group / f"{name}.yaml")


def read_yaml(path: Path) -> dict[str, Any]:
    plain = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def known(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.name != "name")


def overridden(
    group: str, plain: Mapping[str, Any], overrides: Mapping[str, Any], names: Sequence[str]
) -> dict[str, Any]:
    """`plain` with `overrides`. Raises ValueError for a name that is not among `names`, or a value of another kind."""
    for name, value in overrides.items():
        if name not in names:
            raise ValueError(f"{group}.{name} is not known; choose {', '.join(names)}")
        wanted = kind_of(group, name, plain)
        if isinstance(value, bool) != (wanted is bool) or not isinstance(value, wanted):
            raise ValueError(f"{group}.{name}={value} is not {KINDS[wanted]}; write one")
        most = math.inf if group == "device" else MOST_OF.get(name, MOST)
        if not isinstance(value, str) and most < value < math.inf:
            raise ValueError(f"{group}.{name}={str(value)[:15]} is beyond any model; choose {most:,} or less")
    return {**plain, **overrides}


def kind_of(group: str, name: str, plain: Mapping[str, Any]) -> Any:
    """The type of what `group`.`name` takes: that of what stands there; numbers of a network are whole."""
    present = plain.get(name)
    if group == "model" and name in FLAGS:
        return bool
    if isinstance(present, bool | str):
        return str | int if name == "memory" else type(present)
    return int if group in ("model", "optimizer") else int | float
