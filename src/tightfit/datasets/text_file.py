"""A user's own texts: one .jsonl, .tsv or .csv file with a column of labels."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tightfit.datasets.dataset import Dataset
from tightfit.datasets.routes import sha256_of
from tightfit.datasets.rows import Row, check_column, check_text, read_rows
from tightfit.datasets.text import Labelled, Prompting, Tokenizer, split_by_hash, text_dataset
from tightfit.settings import cosmetic


@cosmetic("title")
def text_file(
    name: str,
    tokenizer: Tokenizer,
    path: str,
    text: str,
    label: str,
    verbalizers: Mapping[Any, str],
    template: str,
    title: str = "",
    encoding: str | None = None,
    separator: str | None = None,
    **prompting: Any,
) -> Dataset:
    """The rows of `path` as prompts, split 80/10/10 by a hash of the text.

    text, label: their columns; the template may name others too, and {text} is the column `text`.
    verbalizers: label → word. encoding: None is UTF-8. separator: see `read_rows`.
    Raises ValueError for a file of another kind, missing columns, empty texts, or labels without a word.
    """
    words = words_by_label(verbalizers)
    content = Path(path).read_bytes()
    rows = read_rows(Path(path), content, encoding or "utf-8", separator)
    for setting, column in {"text": text, "label": label}.items():
        check_column(Path(path), rows, setting, column)
    check_labels(path, [spelled(row[label]) for row in rows], list(words))
    named = {text, *(text if field == "text" else field for field in re.findall(r"\{(\w+)\}", template))}
    for number, row in enumerate(rows, start=1):
        check_text(row, named, f"{path} row {number}")
    texts = [labelled(row, f"{path} row {number}", text, label, words) for number, row in enumerate(rows, start=1)]
    options = Prompting(template=template, verbalizers=tuple(words.values()), **prompting)
    checksums = {Path(path).name: sha256_of(content)}
    return text_dataset(name, split_by_hash(texts, "text"), tokenizer, options, f"file {path}", checksums)


def words_by_label(verbalizers: Mapping[Any, str]) -> dict[str, str]:
    """The words by labels as `spelled`. Raises ValueError where there are none, or two are of one label."""
    if not isinstance(verbalizers, Mapping):
        raise ValueError(f"dataset.verbalizers={verbalizers} names no labels; write {{label: word, …}}")
    words = {spelled(value): word for value, word in verbalizers.items()}
    if len(words) < len(verbalizers):
        raise ValueError(f"dataset.verbalizers={dict(verbalizers)} says one label twice; give each label one word")
    return words


def spelled(value: Any) -> str:
    """A label in letters, the same whether a file or a configuration says it, and after any way through JSON:
    true, false and null in small letters, and whole numbers without a point."""
    text = value if isinstance(value, str) else json.dumps(value)
    if text.lower() in ("true", "false", "null"):
        return text.lower()
    return text.partition(".")[0] if re.fullmatch(r"-?\d+\.0+", text) else text


def check_labels(path: str, labels: Sequence[str], words: Sequence[str]) -> None:
    """Raise ValueError unless every label has a word and there are two labels or more."""
    counts = Counter(labels)
    unsaid = [label for label in counts if label not in words]
    if unsaid:
        rows = sum(counts[label] for label in unsaid)
        raise ValueError(
            f"{path} row {labels.index(unsaid[0]) + 1}: label {unsaid[0]!r} has no verbalizer, as in {rows} of "
            f"{len(labels)} rows; dataset.verbalizers names {sorted(words)}; give each label a word"
            + (". This classifies; regression and generation are not covered" if is_number(unsaid[0]) else "")
        )
    if len(counts) == 1:
        raise ValueError(f"{path}: all {len(labels)} rows have the label {labels[0]!r}; add texts of another one")


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def labelled(row: Row, source: str, text: str, label: str, words: Mapping[str, str]) -> Labelled:
    fields = {column: "" if content is None else str(content) for column, content in row.items()}
    return Labelled({**fields, "text": str(row[text])}, list(words).index(spelled(row[label])), source)
