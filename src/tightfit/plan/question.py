"""The words of a command line, as what is asked: every combination of what is named with commas.

Models, methods, adapters and budgets are the options of a run, composed as a run composes them; `optimizer.KEY=`,
`optimizer/PART=`, `adapter.KEY=` and `memory_budget.KEY=` say what they say there. `model.KEY=` and `assumptions.KEY=`
override plain numbers. `device` is the former word for `memory_budget`, and `device.memory` for `memory_budget.size`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from tightfit.commands.verbs import PLAN
from tightfit.commands.words import nearest
from tightfit.memory.assumptions import Assumptions
from tightfit.memory.budget import MemoryBudget
from tightfit.plan.answer import Answer, answer
from tightfit.plan.composed import budget_of, method_of, read_yaml
from tightfit.plan.models import described, subject_of
from tightfit.plan.subject import Subject
from tightfit.records.places import CONF
from tightfit.run.checks import check_arguments

DEFAULTS = {word.name: word.default or "" for word in PLAN.words}
FORMATS = ("table", "json", "csv")
PLAIN = ("model", "assumptions")
COMPOSED = ("optimizer", "adapter", "memory_budget")
SYNONYMS = {"device.memory": "memory_budget.size"}
MOST = 10**9  # examples or positions


Complain = Callable[[str, str], object]


@dataclass(frozen=True)
class Question:
    """What was asked. methods, budgets: words of a run, a list for each combination; overrides: of plain numbers."""

    models: tuple[str, ...]
    methods: tuple[tuple[str, ...], ...]
    budgets: tuple[tuple[str, ...], ...]
    sequence_lengths: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    format: str
    picture: str
    overrides: Mapping[str, Mapping[str, Any]]

    @cached_property
    def assumptions(self) -> Assumptions:
        """Raises ValueError for one that is not known, or of another kind."""
        plain = {**read_yaml(CONF / "plan" / "assumptions.yaml"), **self.overrides["assumptions"]}
        check_arguments("assumptions", Assumptions, plain, ())
        return Assumptions(**plain)


def parse(words: Sequence[str]) -> Question:
    """Raises ValueError for a word that is no `KEY=VALUE`, a key that is not known, or a size that is no number."""
    values, overrides = dict(DEFAULTS), {group: {} for group in PLAIN}
    for word in words:
        key, equals, value = word.partition("=")
        key = renamed(key)
        group, _, name = key.partition(".")
        if not equals:
            raise ValueError(f"{word!r} says no value; write KEY=VALUE, such as model=llama2_7b")
        if key in DEFAULTS or group.partition("/")[0] in COMPOSED:
            values[key] = value
        elif group in PLAIN and name:
            overrides[group][name] = value_of(value)
        else:
            spelled = ", ".join((*DEFAULTS, "adapter", *(f"{group}.…" for group in (*COMPOSED, *PLAIN))))
            raise ValueError(f"{key} is not a key of a plan; {nearest(key, DEFAULTS)}choose {spelled}")
    if values["format"] not in FORMATS:
        raise ValueError(f"format={values['format']!r} is not a format; choose {', '.join(FORMATS)}")
    return Question(
        models=tuple(values["model"].split(",")),
        methods=combinations(values, ("optimizer", "adapter")),
        budgets=combinations(values, ("memory_budget",)),
        sequence_lengths=whole_numbers("dataset.sequence_length", values["dataset.sequence_length"]),
        batch_sizes=whole_numbers("training.batch_size", values["training.batch_size"]),
        format=values["format"],
        picture=values["picture"],
        overrides=overrides,
    )


def value_of(text: str) -> Any:
    """`text` as the number or truth that it says, or as the word that it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def renamed(key: str) -> str:
    key = SYNONYMS.get(key, key)
    return f"memory_budget{key.removeprefix('device')}" if key.partition(".")[0] == "device" else key


def combinations(values: Mapping[str, str], groups: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The words of `groups` with one choice each, for every combination; the first word varies last."""
    keys = [key for key in values if key.partition(".")[0].partition("/")[0] in groups]
    one_value = ("[", "{")  # a list, or settings with names
    choices = [
        [values[key]] if any(mark in values[key] for mark in one_value) else values[key].split(",") for key in keys
    ]
    return tuple(
        tuple(f"{key}={value}" for key, value in zip(keys, chosen, strict=True)) for chosen in product(*choices)
    )


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


def answers(question: Question, complain: Complain) -> Iterator[Answer]:
    """A row for each combination, in the order of the words; of one that cannot be `complain` is told which, and why.

    Raises ValueError for what no combination can be made of.
    """
    budgets = [budget_of(words) for words in question.budgets]
    models = [described(name) for name in question.models]
    subjects: list[Subject] = []
    for model, words in product(models, question.methods):
        try:
            method = method_of([*words, *([f"model={model.runs_as}"] if model.runs_as else [])])
            subjects.append(subject_of(model, method, question.overrides["model"], question.assumptions))
        except ValueError as error:
            complain(f"{model.shown} by {' '.join(words)}", str(error))
    for budget, subject in product(budgets, subjects):
        yield from rows_of(subject, budget, question, complain)


def rows_of(subject: Subject, budget: MemoryBudget, question: Question, complain: Complain) -> Iterator[Answer]:
    for s in question.sequence_lengths[: None if subject.longest else 1]:
        for b in question.batch_sizes:
            try:
                check_length(subject, s)
                yield answer(subject, budget, s if subject.longest else 0, b)
            except ValueError as error:
                complain(f"{subject.model} by {subject.optimizer}", str(error))


def check_length(subject: Subject, s: int) -> None:
    if 0 < subject.longest < s:
        raise ValueError(
            f"sequence_length={s} but {subject.model} has {subject.longest} positions; choose 1–{subject.longest}"
        )
