"""A user's own questions, each with answers of its own to choose from, as COPA and HellaSwag are published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tightfit.datasets.dataset import Dataset
from tightfit.datasets.labels import spelled
from tightfit.datasets.prompts import Prompting, Tokenizer
from tightfit.datasets.rows import Row, check_text
from tightfit.datasets.text import text_dataset
from tightfit.datasets.text_file import WHOLE, Columns, Place, labelled, named_files, read_files, splits_of
from tightfit.records.cosmetic import cosmetic


@cosmetic("title")
def multiple_choice(
    name: str,
    tokenizer: Tokenizer,
    path: str | None = None,
    *,
    text: str | int,
    label: str | int,
    choices: Sequence[str | int] | str | int,
    template: str,
    labels: Sequence[Any] | None = None,
    train: str | None = None,
    validation: str | None = None,
    test: str | None = None,
    split: str | int | None = None,
    title: str = "",
    encoding: str | None = None,
    separator: str | None = None,
    header: bool | None = None,
    missing: str | None = None,
    **prompting: Any,
) -> Dataset:
    """The rows of files as questions, in splits as `text_file` makes them.

    choices: the columns of the answers, in order, or the one column with a list of them in each row of a .jsonl.
    labels: what the column `label` says of each answer, in order; None: 0, 1, ….
    Raises ValueError as `text_file` does, and where examples have different numbers of answers.
    """
    files = named_files({WHOLE: path, "train": train, "validation": validation, "test": test}, split)
    listed = [str(choices)] if isinstance(choices, str | int) else [str(column) for column in choices]
    named = {f"dataset.choices {column}": column for column in listed}
    columns = Columns(str(text), str(label), None if split is None else str(split), template, named)
    found = read_files(files, columns, encoding, separator, header, missing)
    answers = {place[0]: answers_in(place, listed) for place in found.every}
    count = check_counts(answers)
    said = labels_of(labels, count)
    for source, row in found.every:
        check_label(source, row, columns.label, said)
    texts = {
        setting: [labelled(row, source, columns, said, answers[source]) for source, row in part]
        for setting, part in found.places.items()
    }
    options = Prompting(template=template, choices=count, **prompting)
    splits = splits_of(texts, columns.split, options)
    details = {"labels": said, **found.details}
    return text_dataset(name, splits, tokenizer, options, found.route, found.checksums, details)


def labels_of(labels: Sequence[Any] | None, count: int) -> list[str]:
    """What each of `count` answers is called by a label. Raises ValueError unless that is one name each."""
    said = [str(place) for place in range(count)] if labels is None else [spelled(label) for label in labels]
    if len(set(said)) != count:
        raise ValueError(f"dataset.labels={labels} but there are {count} answers to choose from; name each once")
    return said


def answers_in(place: Place, columns: Sequence[str]) -> list[str]:
    """The answers of a row. Raises ValueError for what is no text."""
    source, row = place
    found = row[columns[0]]
    if len(columns) == 1 and isinstance(found, list):
        row = {str(number): each for number, each in enumerate(found, start=1)}
        columns = list(row)
        if not all(isinstance(each, str) and each.strip() for each in found):
            raise ValueError(f"{source}: its answers are {json.dumps(found)[:60]}; write a list of texts")
    check_text(row, columns, source)
    return [str(row[column]) for column in columns]


def check_counts(answers: dict[str, list[str]]) -> int:
    """How many answers every row has. Raises ValueError where they differ."""
    counts = {source: len(each) for source, each in answers.items()}
    first = next(iter(counts.values()), 0)
    other = next((source for source, count in counts.items() if count != first), None)
    if other is not None:
        raise ValueError(
            f"{other} has {counts[other]} answers to choose from, others {first}; give each as many, or write a row "
            "for each answer with a label yes or no (dataset=text_file)"
        )
    return first


def check_label(source: str, row: Row, column: str, labels: Sequence[str]) -> None:
    if (label := spelled(row[column])) not in labels:
        raise ValueError(
            f"{source}: label {label!r} names none of the answers, which go by {', '.join(labels)}; say what labels "
            "mean, in the order of the answers: dataset.labels=[1, 2]"
        )
