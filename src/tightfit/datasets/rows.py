"""Rows of a user's own file by column: one object a line (.jsonl), or a table whose first line may name its columns."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

SEPARATORS = {".tsv": "\t", ".csv": ","}
SPELLED = {"tab": "\t", "\\t": "\t"}
OTHER_SEPARATORS = (";", "\t", ",", "|")
LONGEST_FIELD = 131_072  # characters: the limit of Python's csv, here for every kind of file
Row = dict[str, Any]


def read_rows(
    path: Path, content: bytes, encoding: str = "utf-8", separator: str | None = None, header: bool = True
) -> list[Row]:
    """The rows of a file of `content`.

    separator: between the columns of a table; None is the tab of a .tsv and the comma of a .csv.
    header: whether line 1 of a table names the columns; else they are called by their numbers, "1", "2", ….
    Raises ValueError for a file of another kind or encoding, and for lines that are no rows.
    """
    if path.suffix != ".jsonl" and path.suffix not in SEPARATORS:
        raise ValueError(f"{path} is no file this reads; choose a .jsonl, .tsv or .csv file")
    if path.suffix == ".jsonl" and not header:
        raise ValueError(f"dataset.header=false but each row of {path} names its columns; leave it out")
    text = decoded(path, content, encoding)
    rows = read_lines(path, text) if path.suffix == ".jsonl" else read_table(path, text, separator, header)
    if not rows:
        names = "the columns' names in line 1 and a row a line below" if header else "a row a line"
        raise ValueError(f"{path} has no rows; write {'one object a line' if path.suffix == '.jsonl' else names}")
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


def read_table(path: Path, text: str, separator: str | None, header: bool) -> list[Row]:
    """Rows of a table; what a short one lacks is None."""
    delimiter = SEPARATORS[path.suffix] if separator is None else SPELLED.get(str(separator), separator)
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n ':
        raise ValueError(f"dataset.separator={separator!r} is not one sign; choose ';', ',', '|' or tab")
    quoting = csv.QUOTE_NONE if path.suffix == ".tsv" else csv.QUOTE_MINIMAL
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, quoting=quoting)
    try:
        lines = [line for line in reader if line]
    except csv.Error as error:
        raise ValueError(
            f"{path} line {reader.line_num}: {error}; close a quote that is open before, or cut the text"
        ) from None
    if not header:
        columns = [str(number) for number in range(1, 1 + max(map(len, lines), default=0))]
        return [by_column(columns, line, f"{path} row {row}") for row, line in enumerate(lines, start=1)]
    columns, *cells = lines or [[]]
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


def whole_rows(
    path: Path, rows: Sequence[Row], columns: Mapping[str, str], drop: bool = False
) -> list[tuple[str, Row]]:
    """The rows that have something in all of `columns`, each with its place for messages.

    columns: names by the setting that says them. drop: whether others are left out.
    Raises ValueError for a column that no row has, and for rows that lack something and are not to be left out.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    for setting, column in columns.items():
        if column not in names:
            raise ValueError(
                f"{path} has no {column!r} ({setting}); its columns are {sorted(names)}; {missing_remedy(path, names)}"
            )
    lacking = {
        number: next((column for column in columns.values() if is_empty(row.get(column))), None)
        for number, row in enumerate(rows, start=1)
    }
    first = next((number for number, column in lacking.items() if column), None)
    if first and not drop:
        count = sum(map(bool, lacking.values()))
        raise ValueError(
            f"{path} row {first}: {lacking[first]} is empty, as in {count} of {len(rows)} rows; fill it, or leave such "
            "rows out by dataset.missing=drop"
        )
    return [(f"{path} row {number}", row) for number, row in enumerate(rows, start=1) if not lacking[number]]


def missing_remedy(path: Path, columns: Sequence[str]) -> str:
    """What helps where a column is not among `columns`: another separator, or a line of names."""
    if path.suffix in SEPARATORS:
        found = next((sign for sign in OTHER_SEPARATORS if len(columns) == 1 and sign in columns[0]), None)
        if found:
            said = "tab" if found == "\t" else f"'{found}'"
            return f'write "dataset.separator={said}", with both pairs of quotes, if that is between them'
        return "name one of them, or set dataset.header=false if line 1 is a row and give the columns' numbers, from 1"
    return "name one of them"


def is_empty(value: Any) -> bool:
    """Whether a cell has nothing in it: no text, null, or what JSON writes as NaN."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


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
