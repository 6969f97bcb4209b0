"""A user's own texts, as they are published: one .jsonl, .tsv or .csv file, or one for each split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tightfit.datasets.dataset import Dataset
from tightfit.datasets.labels import SPLITS, is_number, spelled, split_called
from tightfit.datasets.prompts import Labelled, Prompting, Tokenizer
from tightfit.datasets.routes import sha256_of
from tightfit.datasets.rows import Row, check_text, read_rows, whole_rows
from tightfit.datasets.text import Splits, split_by_hash, text_dataset
from tightfit.records.cosmetic import cosmetic

WHOLE = "path"  # the setting that names a file with all splits in it
Place = tuple[str, Row]  # where a row stands, for messages, and the row


@cosmetic("title")
def text_file(
    name: str,
    tokenizer: Tokenizer,
    path: str | None = None,
    *,
    text: str | int,
    label: str | int,
    verbalizers: Mapping[Any, str],
    template: str,
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
    """The rows of files as prompts, in the splits that these or a column of `path` make; else `path` is split 80/10/10
    by a hash of the text.

    text, label, split: their columns, by name or by number from 1; the template may name others too, and {text} is the
    column `text`.
    verbalizers: label → word. encoding: None is UTF-8. separator, header: see `read_rows`; None is a header.
    missing: "drop" leaves out rows without a text or a label; None refuses them.
    Raises ValueError for files of another kind, missing columns, empty texts, or labels without a word.
    """
    words = words_by_label(verbalizers)
    files = named_files({WHOLE: path, "train": train, "validation": validation, "test": test}, split)
    columns = Columns(str(text), str(label), None if split is None else str(split), template)
    found = read_files(files, columns, encoding, separator, header, missing)
    options = Prompting(template, tuple(words.values()), **prompting)
    return as_prompts(name, tokenizer, found, columns, words, options)


def as_prompts(
    name: str, tokenizer: Tokenizer, found: Found, columns: Columns, words: Mapping[str, str], prompting: Prompting
) -> Dataset:
    """The rows that were `found` as prompts. Raises ValueError for labels without a word, and splits that are none."""
    check_labels(found.route.removeprefix("file "), found.every, columns.label, list(words))
    texts = {
        setting: [labelled(row, source, columns, words) for source, row in part]
        for setting, part in found.places.items()
    }
    splits = splits_of(texts, columns.split, prompting)
    details = {"labels": list(words), **found.details}
    return text_dataset(name, splits, tokenizer, prompting, found.route, found.checksums, details)


@dataclass(frozen=True)
class Found:
    """The rows of files, by the setting that names each file, and what a record tells of the files."""

    places: Mapping[str, Sequence[Place]]
    route: str
    checksums: Mapping[str, str]
    details: Mapping[str, Any]

    @property
    def every(self) -> list[Place]:
        return [place for part in self.places.values() for place in part]


def read_files(
    files: Mapping[str, str],
    columns: Columns,
    encoding: str | None,
    separator: str | None,
    header: bool | None,
    missing: str | None,
) -> Found:
    """See `text_file`. Raises ValueError for files of another kind, missing columns, and cells that are no text."""
    if missing not in (None, "refuse", "drop"):
        raise ValueError(f"dataset.missing={missing!r} is nothing to do with empty cells; choose refuse or drop")
    content = {setting: Path(file).read_bytes() for setting, file in files.items()}
    places: dict[str, list[Place]] = {}
    read = 0
    for setting, file in files.items():
        rows = read_rows(Path(file), content[setting], encoding or "utf-8", separator, header is not False)
        places[setting] = whole_rows(Path(file), rows, columns.needed, drop=missing == "drop")
        read += len(rows)
    found = Found(
        places,
        "file " + ", ".join(files.values()),
        {name_on_record(setting, file): sha256_of(content[setting]) for setting, file in files.items()},
        {"rows_dropped": read - sum(map(len, places.values()))} if missing == "drop" else {},
    )
    for source, row in found.every:
        check_text(row, columns.named, source)
    return found


@dataclass(frozen=True)
class Columns:
    """The columns that are read: of the text, the label and the split, those that the template names, and others."""

    text: str
    label: str
    split: str | None
    template: str
    others: Mapping[str, str] = field(default_factory=dict)  # that no row may lack, by the setting that names each

    @property
    def named(self) -> list[str]:
        """Those that a prompt is made of."""
        fields = re.findall(r"\{(\w+)\}", self.template)
        return list(dict.fromkeys([self.text, *(self.text if f == "text" else f for f in fields if f != "label")]))

    @property
    def needed(self) -> dict[str, str]:
        """Those that no row may lack, by the setting that names each."""
        named = {f"dataset.template {{{column}}}": column for column in self.named if column != self.text}
        split = {} if self.split is None else {"dataset.split": self.split}
        return {"dataset.text": self.text, "dataset.label": self.label, **split, **self.others, **named}


def named_files(said: Mapping[str, str | None], split: str | int | None) -> dict[str, str]:
    """The files that are named, by the setting that names each. Raises ValueError for those that make no splits."""
    files = {setting: file for setting, file in said.items() if file is not None}
    if WHOLE in files and len(files) > 1:
        other = next(setting for setting in files if setting != WHOLE)
        raise ValueError(f"dataset.path and dataset.{other} both name a file; leave dataset.path out")
    if WHOLE not in files and not {"train"} < files.keys():
        has = "no file" if not files else f"dataset.{' and dataset.'.join(files)} alone"
        raise ValueError(
            f"the data set names {has}; write dataset.path=… for one file, or dataset.train=… with dataset.test=… "
            "or dataset.validation=…"
        )
    if split is not None and WHOLE not in files:
        raise ValueError(f"dataset.split={split} but each split has a file of its own; leave it out")
    return files


def splits_of(texts: Mapping[str, Sequence[Labelled]], split: str | None, options: Prompting) -> Splits:
    """The texts by split, as their files, the column `split` or a hash have it.

    Raises ValueError for a name that is no split, and where the split to score is not there.
    """
    if WHOLE in texts and split is None:
        return split_by_hash(texts[WHOLE], "text")
    parts: dict[str, list[Labelled]] = {each: list(texts.get(each, ())) for each in SPLITS}
    for text in texts.get(WHOLE, ()):
        assert split is not None
        chosen = split_called(text.fields[split])
        if chosen is None:
            raise ValueError(
                f"{text.source}: {split} is {text.fields[split]!r}, which is no split; write train, validation (or "
                "dev, val, valid) or test"
            )
        parts[chosen].append(text)
    if options.scored == "test" and not parts["test"]:
        raise ValueError("there is no split test to score; give it, or set dataset.scored=validation")
    return Splits(**parts)


def name_on_record(setting: str, file: str) -> str:
    """How a record calls a file, which others may be called like."""
    return Path(file).name if setting == WHOLE else f"{setting}: {Path(file).name}"


def words_by_label(verbalizers: Mapping[Any, str]) -> dict[str, str]:
    """The words by labels as `spelled`. Raises ValueError where there are none, or two are of one label."""
    if not isinstance(verbalizers, Mapping):
        raise ValueError(f"dataset.verbalizers={verbalizers} names no labels; write {{label: word, …}}")
    words = {spelled(value): word for value, word in verbalizers.items()}
    if len(words) < len(verbalizers):
        raise ValueError(f"dataset.verbalizers={dict(verbalizers)} says one label twice; give each label one word")
    return words


def check_labels(files: str, places: Sequence[Place], column: str, words: Sequence[str]) -> None:
    """Raise ValueError unless every label has a word and there are two labels or more."""
    labels = [spelled(row[column]) for _, row in places]
    counts = Counter(labels)
    unsaid = [label for label in counts if label not in words]
    if unsaid:
        rows = sum(counts[label] for label in unsaid)
        raise ValueError(
            f"{places[labels.index(unsaid[0])][0]}: label {unsaid[0]!r} has no verbalizer, as in {rows} of "
            f"{len(labels)} rows; dataset.verbalizers names {sorted(words)}; give each label a word"
            + (". This classifies; regression and generation are not covered" if is_number(unsaid[0]) else "")
        )
    if len(counts) < 2:
        found = f"have the label {labels[0]!r}" if labels else "lack a text or a label"
        raise ValueError(f"{files}: all {len(labels)} rows {found}; add texts of another one")


def labelled(row: Row, source: str, columns: Columns, labels: Iterable[str], choices: Sequence[str] = ()) -> Labelled:
    """labels: what the column of labels says of each class, in order."""
    fields = {column: "" if content is None else str(content) for column, content in row.items()}
    fields["text"] = str(row[columns.text])
    return Labelled(fields, list(labels).index(spelled(row[columns.label])), source, choices)
