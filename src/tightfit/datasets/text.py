"""Text classification as prompts: a template with a place for the answer, and the word that says each class.

The protocol is MeZO's (papers: Malladi et al., 2023, app. D): a fixed draw of 1,000 training, 500 validation and
1,000 test examples, prompts cut on the left when they are too long, and each class scored by the log-probability
of its word. Where all words are single tokens, one forward pass up to the answer's place scores them all; what else
there is says `candidates.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from tightfit.datasets.candidates import reader_of
from tightfit.datasets.dataset import Appended, Dataset, split_of
from tightfit.datasets.prompts import Labelled, Prompting, Tokenizer, Tokens
from tightfit.numerics.seeds import generator


@dataclass(frozen=True)
class Splits:
    """What a source offers; without `validation` it is taken from `train`."""

    train: Sequence[Labelled]
    test: Sequence[Labelled]
    validation: Sequence[Labelled] = ()


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
    Raises ValueError for empty texts, answers that the model cannot tell apart, classes without a word, or more
    examples than there are.
    """
    reader = reader_of(prompting, tokenizer)
    train, scored = drawn(splits, prompting, name)
    check_labels([*train, *scored], prompting)
    read = [reader.read(text) for text in train]
    read_scored, scored = by_length([reader.read(text) for text in scored], scored)
    return Dataset(
        name=name,
        classes=prompting.classes,
        train=reader.examples(read, train),
        test=reader.examples(read_scored, scored),
        scored=prompting.scored,
        mean=0.0,
        std=1.0,
        route=route,
        checksums=dict(checksums),
        details={
            **on_record(prompting),
            **({"longest_answer": reader.answers.longest} if isinstance(reader.answers, Appended) else {}),
            "longest_prompt": max(each.longest for each in read + read_scored),
            "prompts_cut": reader.cut,
            "train_size": len(train),
            "scored_size": len(scored),
            **details,
        },
        answers=reader.answers,
    )


def on_record(prompting: Prompting) -> dict[str, Any]:
    """What a record tells of how texts became examples, beside what came of it."""
    of_answers = {"verbalizers": list(prompting.verbalizers)} if prompting.choices is None else {}
    return {
        "template": prompting.template,
        **of_answers,
        "sequence_length": prompting.sequence_length,
        "subset_seed": prompting.subset_seed,
    }


def check_labels(texts: Sequence[Labelled], prompting: Prompting) -> None:
    """Raise ValueError unless every text has a class that a verbalizer says."""
    words = list(prompting.verbalizers)
    for text in texts:
        if not 0 <= text.label < prompting.classes:
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


def by_length(read: list[Tokens], texts: list[Labelled]) -> tuple[list[Tokens], list[Labelled]]:
    order = sorted(range(len(read)), key=lambda index: read[index].longest)
    return [read[index] for index in order], [texts[index] for index in order]


def split_by_hash(texts: Sequence[Labelled], key: str) -> Splits:
    """80 % to train on, 10 % to validate on, 10 % to test on, by a hash of the field `key`: a text stays in its part
    whatever else is in the set, and equal texts never stand on both sides."""
    parts: dict[str, list[Labelled]] = {split: [] for split in ("train", "validation", "test")}
    for text in texts:
        content = " ".join(text.fields[key].lower().split())
        parts[split_of(hashlib.sha256(content.encode()).digest())].append(text)
    return Splits(**parts)
