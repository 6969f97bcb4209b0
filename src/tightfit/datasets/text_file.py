"""A user's own texts: one .jsonl, .tsv or .csv file with a column of labels."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tightfit.datasets.dataset import Dataset
from tightfit.datasets.routes import sha256_of
from tightfit.datasets.text import Labelled, Prompting, Tokenizer, split_by_hash, text_dataset

SEPARATORS = {".tsv": "\t", ".csv": ","}


def text_file(
    name: str,
    tokenizer: Tokenizer,
    path: str,
    text: str,
    label: str,
    verbalizers: Mapping[Any, str],
    title: str = "",
    **prompting: Any,
) -> Dataset:
    """The rows of `path` as prompts, split 80/10/10 by a hash of the text.

    text, label: their columns; the template may name others too, and {text} is the column `text`.
    verbalizers: label → word.
    Raises ValueError for a file of another kind, missing columns, empty texts, or labels without a word.
    """
    if not isinstance(verbalizers, Mapping):
        raise ValueError(f"dataset.verbalizers={verbalizers} names no labels; write {{label: word, …}}")
    content = Path(path).read_bytes()
    words = {str(value): word for value, word in verbalizers.items()}
    rows = read_rows(Path(path), content)
    texts = [labelled(row, f"{path} row {number}", text, label, words) for number, row in enumerate(rows, start=1)]
    options = Prompting(verbalizers=tuple(words.values()), **prompting)
    checksums = {Path(path).name: sha256_of(content)}
    return text_dataset(name, split_by_hash(texts, "text"), tokenizer, options, f"file {path}", checksums)


def read_rows(path: Path, content: bytes) -> list[dict[str, Any]]:
    """Rows by column; a table's first line names its columns."""
    if path.suffix == ".jsonl":
        lines = content.decode().split("\n")  # not `splitlines`: a text may hold what Unicode calls line ends
        return [parsed(line, f"{path} row {row}") for row, line in enumerate(lines, start=1) if line.strip()]
    if path.suffix not in SEPARATORS:
        raise ValueError(f"dataset.path={path} is no file this reads; choose a .jsonl, .tsv or .csv file")
    quoting = csv.QUOTE_NONE if path.suffix == ".tsv" else csv.QUOTE_MINIMAL
    return list(csv.DictReader(io.StringIO(content.decode()), delimiter=SEPARATORS[path.suffix], quoting=quoting))


def parsed(line: str, source: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{source} is not valid JSON ({error}); write one object a line") from None
    if not isinstance(row, dict):
        raise ValueError(f"{source} is {line[:40]!r}, which has no columns; write one object a line")
    return row


def labelled(row: Mapping[str, Any], source: str, text: str, label: str, words: Mapping[str, str]) -> Labelled:
    for setting, column in {"text": text, "label": label}.items():
        if row.get(column) is None:
            raise ValueError(f"{source} has no {column!r} (dataset.{setting}); its columns are {sorted(map(str, row))}")
    if not str(row[text]).strip():
        raise ValueError(f"{source}: {text} is empty; fill it or leave the row out")
    value = str(row[label])
    if value not in words:
        raise ValueError(f"{source}: label {value!r} has no verbalizer; dataset.verbalizers names {sorted(words)}")
    fields = {str(column): str(content) for column, content in row.items()}
    return Labelled({**fields, "text": str(row[text])}, list(words).index(value), source)
