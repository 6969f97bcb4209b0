"""Text classification as prompts: a template with a place for the answer, and the word that says each class.

The protocol is MeZO's (papers: Malladi et al., 2023, app. D): a fixed draw of 1,000 training, 500 validation and
1,000 test examples, prompts cut on the left when they are too long, and each class scored by the log-probability
of its word. All words are single tokens here, so that one forward pass up to the answer's place scores them all.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import torch

from tightfit.datasets.dataset import Dataset, Examples, check_count, check_limits, check_seed, split_of
from tightfit.seeds import generator

ANSWER = "{label}"
WIDTH_MULTIPLE = 8  # prompts are padded to a multiple of this, which processors like


class Tokenizer(Protocol):
    """What a language model reads: text in its own tokens."""

    pad: int  # stands to the right of shorter prompts

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


@dataclass(frozen=True)
class Splits:
    """What a source offers; without `validation` it is taken from `train`."""

    train: Sequence[Labelled]
    test: Sequence[Labelled]
    validation: Sequence[Labelled] = ()


@dataclass(frozen=True)
class Prompting:
    """How texts become examples.

    template: the prompt, with {fields} and the place of the answer, {label}.
    verbalizers: the word for each class, in order.
    sequence_length: the most tokens of a prompt; longer ones lose their beginning.
    train_size, validation_size, test_size: how many are drawn, with seed `subset_seed`; None takes all there are.
    scored: test, or validation to choose hyperparameters. train_limit, test_limit: keep only the first so many.
    """

    template: str
    verbalizers: Sequence[str]
    sequence_length: int = 512
    train_size: int | None = 1000
    validation_size: int = 500
    test_size: int | None = 1000
    subset_seed: int = 0
    scored: str = "test"
    train_limit: int | None = None
    test_limit: int | None = None

    def __post_init__(self) -> None:
        if self.template.count(ANSWER) != 1:
            raise ValueError(f"dataset.template={self.template!r} must have the place of the answer, {ANSWER}, once")
        if len(self.verbalizers) < 2:
            raise ValueError(f"dataset.verbalizers={list(self.verbalizers)} but a task has two classes or more")
        for word in self.verbalizers:
            if not isinstance(word, str) or not word.strip():
                raise ValueError(f"dataset.verbalizers={list(self.verbalizers)} but {word!r} is no word; quote it")
        if self.scored not in ("test", "validation"):
            raise ValueError(f"dataset.scored={self.scored!r} is not a split; choose test or validation")
        for name in ("sequence_length", "validation_size"):
            check_count(name, getattr(self, name))
        check_seed("subset_seed", self.subset_seed)
        check_limits(**{n: getattr(self, n) for n in ("train_size", "test_size", "train_limit", "test_limit")})


def text_dataset(
    name: str,
    splits: Splits,
    tokenizer: Tokenizer,
    prompting: Prompting,
    route: str,
    checksums: Mapping[str, str],
    details: Mapping[str, Any] = MappingProxyType({}),
) -> Dataset:
    """The data set that a model of `tokenizer` trains on. The scored split is in order of length, so that batches of
    neighbours need little padding.

    details: what else goes on record.
    Raises ValueError for empty texts, words of several tokens, words that share one, classes without a word, or more
    examples than there are.
    """
    answers = answer_tokens(prompting, tokenizer)
    train, scored = drawn(splits, prompting, name)
    check_labels([*train, *scored], prompting)
    encoded = PromptEncoder(prompting, tokenizer)
    train_prompts = [encoded.prompt(text) for text in train]
    scored_prompts, scored = by_length([encoded.prompt(text) for text in scored], scored)
    return Dataset(
        name=name,
        classes=len(prompting.verbalizers),
        train=padded(train_prompts, train, tokenizer.pad),
        test=padded(scored_prompts, scored, tokenizer.pad),
        scored=prompting.scored,
        mean=0.0,
        std=1.0,
        route=route,
        checksums=dict(checksums),
        details={
            **on_record(prompting),
            "longest_prompt": max(map(len, train_prompts + scored_prompts)),
            "prompts_cut": encoded.cut,
            "train_size": len(train),
            "scored_size": len(scored),
            **details,
        },
        answers=answers,
    )


def on_record(prompting: Prompting) -> dict[str, Any]:
    """What a record tells of how texts became examples, beside what came of it."""
    return {
        "template": prompting.template,
        "verbalizers": list(prompting.verbalizers),
        "sequence_length": prompting.sequence_length,
        "subset_seed": prompting.subset_seed,
    }


def answer_tokens(prompting: Prompting, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The token of each verbalizer; nothing for a model with a head."""
    before = prompting.template.partition(ANSWER)[0]
    spaced = " " if before.endswith(" ") else ""
    found: dict[int, str] = {}
    for word in prompting.verbalizers:
        tokens = tokenizer.answer(spaced + word)
        if tokens is None:
            return ()
        if len(tokens) != 1:
            raise ValueError(f"verbalizer {word!r} is {len(tokens)} tokens to this model; choose words of one token")
        if tokens[0] in found:
            raise ValueError(f"verbalizers {found[tokens[0]]!r} and {word!r} are the same token to this model")
        found[tokens[0]] = word
    return tuple(found)


def check_labels(texts: Sequence[Labelled], prompting: Prompting) -> None:
    """Raise ValueError unless every text has a class that a verbalizer says."""
    words = list(prompting.verbalizers)
    for text in texts:
        if not 0 <= text.label < len(words):
            raise ValueError(
                f"{text.source or 'a text'} is of class {text.label}, but dataset.verbalizers={words} says classes "
                f"0–{len(words) - 1}; give a word for each class"
            )


def drawn(splits: Splits, prompting: Prompting, name: str) -> tuple[list[Labelled], list[Labelled]]:
    """The examples to train on and those to score, by the protocol."""
    seed = prompting.subset_seed
    pool = shuffled(splits.train, seed, "train")
    validation = shuffled(splits.validation, seed, "validation")[: prompting.validation_size]
    held_out = 0 if validation else prompting.validation_size
    train_size = len(pool) - held_out if prompting.train_size is None else prompting.train_size
    if train_size < 1 or train_size + held_out > len(pool):
        raise ValueError(
            f"dataset.train_size={prompting.train_size} and dataset.validation_size={held_out} to validate on, "
            f"but {name} has {len(pool)} training examples; choose fewer"
        )
    validation = validation or pool[train_size : train_size + held_out]
    test = shuffled(splits.test, seed, "test")[: prompting.test_size]
    scored = test if prompting.scored == "test" else validation
    if not scored:
        raise ValueError(f"{name} has no {prompting.scored} examples to score; give it more texts")
    return pool[:train_size][: prompting.train_limit], scored[: prompting.test_limit]


def shuffled(texts: Sequence[Labelled], seed: int, split: str) -> list[Labelled]:
    order = torch.randperm(len(texts), generator=generator(seed, "subset", split))
    return [texts[index] for index in order.tolist()]


class PromptEncoder:
    """Turns texts into prompts; `cut` counts those that were too long."""

    def __init__(self, prompting: Prompting, tokenizer: Tokenizer) -> None:
        self.cut = 0
        self._tokenizer = tokenizer
        self._longest = prompting.sequence_length
        self._before, _, self._after = prompting.template.partition(ANSWER)

    def prompt(self, text: Labelled) -> list[int]:
        before, after = (filled(part, text) for part in (self._before, self._after))
        tokens, cut = self._tokenizer.prompt(before, after, self._longest)
        self.cut += cut
        return tokens


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


def by_length(prompts: list[list[int]], texts: list[Labelled]) -> tuple[list[list[int]], list[Labelled]]:
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    return [prompts[index] for index in order], [texts[index] for index in order]


def padded(prompts: list[list[int]], texts: list[Labelled], pad: int) -> Examples:
    """inputs: (n, s) int64, padded on the right; s is a multiple of 8."""
    width = -(-max(map(len, prompts)) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE
    inputs = torch.full((len(prompts), width), pad, dtype=torch.int64)
    for row, prompt in zip(inputs, prompts, strict=True):
        row[: len(prompt)] = torch.tensor(prompt)
    return Examples(inputs, torch.tensor([text.label for text in texts], dtype=torch.int64))


def split_by_hash(texts: Sequence[Labelled], key: str) -> Splits:
    """80 % to train on, 10 % to validate on, 10 % to test on, by a hash of the field `key`: a text stays in its part
    whatever else is in the set, and equal texts never stand on both sides."""
    parts: dict[str, list[Labelled]] = {split: [] for split in ("train", "validation", "test")}
    for text in texts:
        content = " ".join(text.fields[key].lower().split())
        parts[split_of(hashlib.sha256(content.encode()).digest())].append(text)
    return Splits(**parts)
