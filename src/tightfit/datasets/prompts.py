"""A text as the prompt that a model reads: the template filled, as tokens, padded with others to one width."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from tightfit.datasets.dataset import Answers, Examples, check_count, check_limits, check_seed

ANSWER = "{label}"
WIDTH_MULTIPLE = 8  # prompts are padded to a multiple of this, which processors like


@dataclass(frozen=True)
class Tokens:
    """What is read of a text, a row for each pass over it; of each row, how many tokens at its end are the answer."""

    rows: list[list[int]]
    answers: list[int]

    @property
    def longest(self) -> int:
        return max(map(len, self.rows))


class Tokenizer(Protocol):
    """What a language model reads: text in its own tokens."""

    pad: int  # stands to the right of shorter prompts
    answers_last: bool  # whether the model goes on after a prompt, so that any number of tokens can answer it

    def prompt(self, before: str, after: str, longest: int) -> tuple[list[int], bool]:
        """At most `longest` tokens of a prompt with the answer's place between `before` and `after`, and whether it
        was cut, on the left."""
        ...

    def answer(self, word: str) -> list[int] | None:
        """The tokens of an answer, or None where answers are no words: a model with a head of its own."""
        ...


@dataclass(frozen=True)
class Labelled:
    """A text by the fields that templates name, and its class."""

    fields: Mapping[str, str]
    label: int
    source: str = ""  # where it stands, for messages
    choices: Sequence[str] = ()  # of multiple choice: the answers to choose from


@dataclass(frozen=True)
class Prompting:
    """How texts become examples.

    template: the prompt, with {fields} and the place of the answer, {label}.
    verbalizers: the word, or words, for each class, in order. choices: instead of them, how many answers of its own
        each example has.
    sequence_length: the most tokens of a prompt, with its answer where that is appended; longer ones lose their
        beginning.
    train_size, validation_size, test_size: how many are drawn, with seed `subset_seed`; None takes all there are.
    scored: test, or validation to choose hyperparameters. train_limit, test_limit: keep only the first so many.
    """

    template: str
    verbalizers: Sequence[str] = ()
    sequence_length: int = 512
    train_size: int | None = 1000
    validation_size: int = 500
    test_size: int | None = 1000
    subset_seed: int = 0
    scored: str = "test"
    train_limit: int | None = None
    test_limit: int | None = None
    choices: int | None = None

    def __post_init__(self) -> None:
        if self.template.count(ANSWER) != 1:
            raise ValueError(f"dataset.template={self.template!r} must have the place of the answer, {ANSWER}, once")
        if self.classes < 2:
            raise ValueError(
                f"dataset.verbalizers={list(self.verbalizers)} but a task has two classes or more"
                if self.choices is None
                else f"dataset.choices names {self.choices} answers to choose from; name two or more"
            )
        for word in self.verbalizers:
            if not isinstance(word, str) or not word.strip():
                raise ValueError(f"dataset.verbalizers={list(self.verbalizers)} but {word!r} is no word; quote it")
        if self.scored not in ("test", "validation"):
            raise ValueError(f"dataset.scored={self.scored!r} is not a split; choose test or validation")
        for name in ("sequence_length", "validation_size"):
            check_count(name, getattr(self, name))
        check_seed("subset_seed", self.subset_seed)
        check_limits(**{n: getattr(self, n) for n in ("train_size", "test_size", "train_limit", "test_limit")})

    @property
    def classes(self) -> int:
        return len(self.verbalizers) if self.choices is None else self.choices


class Reader(Protocol):
    """How the texts of a task become examples. `cut` counts those that were too long."""

    cut: int

    @property
    def answers(self) -> Answers: ...

    def read(self, text: Labelled) -> Tokens:
        """Raises ValueError for a text that lacks something."""
        ...

    def examples(self, read: Sequence[Tokens], texts: Sequence[Labelled]) -> Examples:
        """`texts`, as they were read, padded to one width."""
        ...


class Prompts:
    """A prompt for each text, up to the answer's place, where all of `answers`, a token each, are scored at once."""

    def __init__(self, prompting: Prompting, tokenizer: Tokenizer, answers: tuple[int, ...]) -> None:
        self.answers, self.cut = answers, 0
        self._tokenizer = tokenizer
        self._longest = prompting.sequence_length
        self._before, _, self._after = prompting.template.partition(ANSWER)

    def read(self, text: Labelled) -> Tokens:
        before, after = (filled(part, text) for part in (self._before, self._after))
        tokens, cut = self._tokenizer.prompt(before, after, self._longest)
        self.cut += cut
        return Tokens([tokens], [0])

    def examples(self, read: Sequence[Tokens], texts: Sequence[Labelled]) -> Examples:
        """inputs: (n, s) int64, padded on the right; s is a multiple of 8."""
        inputs = padded([each.rows[0] for each in read], self._tokenizer.pad)
        return Examples(inputs, torch.tensor([text.label for text in texts], dtype=torch.int64))


def filled(part: str, text: Labelled) -> str:
    """Part of a template with the text's fields in it; braces within a field are left as they are."""

    def value(match: re.Match[str]) -> str:
        field = match.group(1)
        if field not in text.fields:
            raise ValueError(f"dataset.template names {{{field}}}; {text.source or 'a text'} has {sorted(text.fields)}")
        if not text.fields[field].strip():
            raise ValueError(f"{text.source or 'a text'}: {field} is empty; fill it or leave the example out")
        return text.fields[field]

    return re.sub(r"\{(\w+)\}", value, part)


def padded(rows: Sequence[Sequence[int]], pad: int) -> torch.Tensor:
    """(n, s) int64, with `pad` on the right; s is a multiple of 8."""
    width = -(-max(map(len, rows)) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE
    inputs = torch.full((len(rows), width), pad, dtype=torch.int64)
    for row, tokens in zip(inputs, rows, strict=True):
        row[: len(tokens)] = torch.tensor(tokens)
    return inputs
