"""Texts in a folder that the datasets library saved: `Dataset.save_to_disk`, or `DatasetDict.save_to_disk`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tightfit.datasets.dataset import Dataset, DataUnavailable
from tightfit.datasets.labels import split_called
from tightfit.datasets.prompts import Prompting, Tokenizer
from tightfit.datasets.routes import sha256_of
from tightfit.datasets.rows import Row, check_text, whole_rows
from tightfit.datasets.text_file import WHOLE, Columns, Found, as_prompts, words_by_label
from tightfit.records.cosmetic import cosmetic


@cosmetic("title")
def hf_folder(
    name: str,
    tokenizer: Tokenizer,
    folder: str,
    *,
    text: str,
    label: str,
    verbalizers: Mapping[Any, str],
    template: str,
    title: str = "",
    missing: str | None = None,
    **prompting: Any,
) -> Dataset:
    """The rows of `folder` as prompts, in its splits called train, validation (or dev, val, valid) and test; others are
    left out. A folder without splits is split 80/10/10 by a hash of the text.

    Labels that the folder has names for go by these. The rest is as of `text_file`.
    Raises ValueError as that does, and DataUnavailable for a folder of another kind.
    """
    words = words_by_label(verbalizers)
    if missing not in (None, "refuse", "drop"):
        raise ValueError(f"dataset.missing={missing!r} is nothing to do with empty cells; choose refuse or drop")
    columns = Columns(text, label, None, template)
    options = Prompting(template, tuple(words.values()), **prompting)
    return as_prompts(name, tokenizer, found_in(Path(folder), columns, missing), columns, words, options)


def found_in(folder: Path, columns: Columns, missing: str | None) -> Found:
    parts = saved(folder)
    named = parts if isinstance(parts, dict) else {WHOLE: parts}
    called = {split: split if split == WHOLE else split_called(split) for split in named}
    chosen = {own: named[split] for split, own in called.items() if own}
    places, read = {}, 0
    for split, part in chosen.items():
        rows = rows_of(part)
        place = folder if split == WHOLE else folder / split
        places[split] = whole_rows(place, rows, columns.needed, drop=missing == "drop")
        read += len(rows)
    details: dict[str, Any] = {}
    if missing == "drop":
        details["rows_dropped"] = read - sum(map(len, places.values()))
    if left := sorted(split for split in named if called[split] is None):
        details["splits_left_out"] = left
    files = sorted(folder.rglob("*.arrow"))
    checksums = {str(file.relative_to(folder)): sha256_of(file.read_bytes()) for file in files}
    found = Found(places, f"file {folder}", checksums, details)
    for source, row in found.every:
        check_text(row, columns.named, source)
    return found


def saved(folder: Path) -> Any:
    """What the library reads. Raises ValueError where it is not installed, DataUnavailable for what it did not save."""
    try:
        library = importlib.import_module("datasets")
    except ImportError as error:
        raise ValueError(
            f"dataset=hf_folder needs the datasets library ({error}); install it with pip install 'tightfit[hf]'"
        ) from None
    try:
        return library.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataUnavailable(
            f"dataset.folder={folder} is no folder that datasets saved ({reason}); write one by save_to_disk"
        ) from error


def rows_of(part: Any) -> list[Row]:
    """The rows of a split, in which numbers of classes that have names are these."""
    names = {column: feature.names for column, feature in part.features.items() if hasattr(feature, "names")}

    def named(column: str, value: Any) -> Any:
        if column not in names or value is None:
            return value
        return names[column][value] if 0 <= value < len(names[column]) else None  # -1: not labelled

    return [{column: named(column, value) for column, value in row.items()} for row in part]
