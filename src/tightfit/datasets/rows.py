"""Rows of a user's own file by column: one object a line (.jsonl), or a table whose first line names its columns."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

SEPARATORS = {".tsv": "\t", ".csv": ","}
OTHER_SEPARATORS = (";", "\t", ",", "|")
LONGEST_FIELD = 131_072  # characters: the limit of Python's csv, here for every kind of file
Row = dict[str, Any]


def read_rows(path: Path, content: bytes, encoding: str = "utf-8", separator: str | None = None) -> list[Row]:
    """The rows of a file of `content`.

    separator: between the columns of a table; None is the tab of a .tsv and the comma of a .csv.
    Raises ValueError for a file of another kind or encoding, and for lines that are no rows.
    """
    if path.suffix != ".jsonl" and path.suffix not in SEPARATORS:
        raise ValueError(f"dataset.path={path} is no file this reads; choose a .jsonl, .tsv or .csv file")
    text = decoded(path, content, encoding)
    rows = read_lines(path, text) if path.suffix == ".jsonl" else read_table(path, text, separator)
    if not rows:
        how = "one object a line" if path.suffix == ".jsonl" else "the columns' names in line 1 and a row a line below"
        raise ValueError(f"{path} has no rows; write {how}")
    return rows


def decoded(path: Path, content: bytes, encoding: str) -> str:
    """The text of `content` without a byte order mark. Raises ValueError, with the line, for bytes that are none."""
    remedy = "save the file as UTF-8, or say what it is: dataset.encoding=latin-1, utf-16, …"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line, byte = 1 + content.count(b"\n", 0, error.start), content[error.start]
        raise ValueError(f"{path} line {line} is not {encoding}: byte 0x{byte:02x}; {remedy}") from None
    except (LookupError, TypeError, UnicodeError):
        raise ValueError(f"dataset.encoding={encoding} is not known; choose utf-8, latin-1, utf-16, …") from None
    if "\0" in text:
        line = 1 + text.count("\n", 0, text.index("\0"))
        raise ValueError(f"{path} line {line} is not text: it holds a zero byte; {remedy}")
    return text.removeprefix(codecs.BOM_UTF8.decode())


def read_lines(path: Path, text: str) -> list[Row]:
    lines = text.split("\n")  # not `splitlines`: a text may hold what Unicode calls line ends
    return [parsed(line, f"{path} row {row}") for row, line in enumerate(lines, start=1) if line.strip()]


def parsed(line: str, source: str) -> Row:
    try:
        row = json.loads(line)
    except RecursionError:
        raise ValueError(f"{source} is lists within lists; write one object a line, of texts and numbers") from None
    except ValueError as error:  # bad JSON, or a number of thousands of digits
        raise ValueError(f"{source} is not valid JSON ({error}); write one object a line") from None
    if not isinstance(row, dict):
        raise ValueError(f"{source} is {line[:40]!r}, which has no columns; write one object a line")
    return row


def read_table(path: Path, text: str, separator: str | None) -> list[Row]:
    """Rows of a table; what a short one lacks is None."""
    delimiter = SEPARATORS[path.suffix] if separator is None else separator
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n ':
        raise ValueError(f"dataset.separator={separator!r} is not one sign; choose ';', ',', '|' or a tab")
    quoting = csv.QUOTE_NONE if path.suffix == ".tsv" else csv.QUOTE_MINIMAL
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, quoting=quoting)
    try:
        columns, *cells = [line for line in reader if line] or [[]]
    except csv.Error as error:
        raise ValueError(
            f"{path} line {reader.line_num}: {error}; close a quote that is open before, or cut the text"
        ) from None
    twice = [name for name, count in Counter(columns).items() if name and count > 1]
    if twice:
        raise ValueError(f"{path} line 1 names the column {twice[0]!r} twice; give each a name of its own")
    return [by_column(columns, line, f"{path} row {row}") for row, line in enumerate(cells, start=1)]


def by_column(columns: Sequence[str], line: Sequence[str], source: str) -> Row:
    if any(cell.strip() for cell in line[len(columns) :]):
        raise ValueError(
            f"{source} has {len(line)} columns but line 1 names {len(columns)}; put texts that hold the separator in "
            "double quotes (.csv), or choose another separator by dataset.separator"
        )
    return dict(zip(columns, [*line, *[None] * len(columns)], strict=False))


def check_column(path: Path, rows: Sequence[Row], setting: str, column: str) -> None:
    """Raise ValueError unless there is such a column and every row has something in it."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if column not in columns:
        raise ValueError(
            f"{path} has no {column!r} (dataset.{setting}); its columns are {sorted(columns)}; "
            f"{missing_remedy(path, columns)}"
        )
    without = [number for number, row in enumerate(rows, start=1) if is_empty(row.get(column))]
    if without:
        raise ValueError(
            f"{path} row {without[0]}: {column} is empty, as in {len(without)} of {len(rows)} rows; fill it or leave "
            "these rows out"
        )


def missing_remedy(path: Path, columns: Sequence[str]) -> str:
    """What helps where a column is not among `columns`: another separator, or a line of names."""
    if path.suffix in SEPARATORS:
        found = next((sign for sign in OTHER_SEPARATORS if len(columns) == 1 and sign in columns[0]), None)
        if found:
            return f"set dataset.separator={found!r} if that is between them"
        return "name one of them, or write the columns' names into line 1 if they are missing there"
    return "name one of them"


def is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def check_text(row: Row, columns: Iterable[str], source: str) -> None:
    """Raise ValueError where one of `columns` holds no text, too long a one, or half a character."""
    for column in columns:
        value = row.get(column)
        if isinstance(value, dict | list):
            raise ValueError(f"{source}: {column} is a {type(value).__name__} and no text; write a text there")
        if not isinstance(value, str):
            continue
        if len(value) > LONGEST_FIELD:
            raise ValueError(f"{source}: {column} has {len(value):,} characters; cut it to {LONGEST_FIELD:,} or fewer")
        if re.search("[\ud800-\udfff]", value):
            raise ValueError(f"{source}: {column} holds half a character, which only JSON can write; write it whole")
