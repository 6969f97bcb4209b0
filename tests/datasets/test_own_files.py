"""Files as people have them: what is read, and the one line that says what to mend where it is not."""

import json
from pathlib import Path
from typing import Any

import pytest

from tightfit.datasets.dataset import Dataset
from tightfit.datasets.rows import LONGEST_FIELD, read_rows
from tightfit.datasets.text_file import spelled, text_file

from .test_text import Letters

TABLE = "text,label\n" + "".join(f"sentence {row},{('bad', 'good')[row % 2]}\n" for row in range(60))
LINES = "".join(json.dumps({"text": f"sentence {row}", "label": ("bad", "good")[row % 2]}) + "\n" for row in range(60))
CONTENTS = {"csv": TABLE, "tsv": TABLE.replace(",", "\t"), "jsonl": LINES}


def read(folder: Path, kind: str, content: str | bytes, **settings: Any) -> Dataset:
    path = folder / f"mine.{kind}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    defaults = {"text": "text", "label": "label", "verbalizers": {"bad": "bad", "good": "good"}}
    sizes = {"train_size": None, "validation_size": 2}
    return text_file("own", Letters(), str(path), **{"template": "{text} {label}", **defaults, **sizes, **settings})


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_byte_order_mark_is_no_part_of_the_first_column(kind: str, tmp_path: Path) -> None:
    plain, marked = (read(tmp_path, kind, CONTENTS[kind].encode(code)) for code in ("utf-8", "utf-8-sig"))
    assert plain.train.inputs.equal(marked.train.inputs)


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        (TABLE.replace(",", ";"), {"separator": ";"}),
        (TABLE.encode("utf-16"), {"encoding": "utf-16"}),
        (TABLE.encode("latin-1"), {"encoding": "latin-1"}),
    ],
    ids=["semicolons", "utf-16", "latin-1"],
)
def test_another_separator_or_encoding_is_read_where_it_is_named(
    content: str | bytes, settings: dict[str, str], tmp_path: Path
) -> None:
    assert read(tmp_path, "csv", content, **settings).train.inputs.equal(read(tmp_path, "csv", TABLE).train.inputs)


def table(*rows: str) -> str:
    return TABLE + "\n".join(rows) + "\n"


def line(**row: Any) -> str:
    return LINES + json.dumps({"text": "a text", "label": "bad", **row}) + "\n"


REFUSED: dict[str, tuple[str, str | bytes, dict[str, Any], str]] = {
    "latin-1": ("csv", table("café,bad").encode("latin-1"), {}, "mine.csv line 62 is not utf-8: byte 0xe9; save the"),
    "utf-16": (
        "jsonl",
        LINES.encode("utf-16"),
        {},
        "mine.jsonl line 1 is not utf-8: byte 0xff; save the file as UTF-8",
    ),
    "utf-16 unmarked": (
        "csv",
        TABLE.encode("utf-16-le"),
        {},
        "mine.csv line 1 is not text: it holds a zero byte; save",
    ),
    "binary": ("jsonl", b"\x89PNG\r\n\x1a\n\x00", {}, "mine.jsonl line 1 is not utf-8: byte 0x89; save the file"),
    "no encoding": ("csv", TABLE, {"encoding": "utf-9"}, "dataset.encoding=utf-9 is not known; choose utf-8"),
    "no decoder": ("csv", TABLE, {"encoding": "undefined"}, "dataset.encoding=undefined is not known; choose utf-8"),
    "no separator": ("csv", TABLE, {"separator": "::"}, "dataset.separator='::' is not one sign; choose ';'"),
    "semicolons": ("csv", TABLE.replace(",", ";"), {}, "set dataset.separator=';' if that is between them"),
    "no header": ("csv", TABLE.partition("\n")[2], {}, "write the columns' names into line 1 if they are missing"),
    "twice": ("csv", "text,label,text\na,bad,b\n", {}, "mine.csv line 1 names the column 'text' twice; give each a"),
    "empty": ("csv", "", {}, "mine.csv has no rows; write the columns' names in line 1 and a row a line below"),
    "header alone": ("tsv", "text\tlabel\n", {}, "mine.tsv has no rows; write the columns' names in line 1"),
    "empty lines": ("jsonl", "\n\n", {}, "mine.jsonl has no rows; write one object a line"),
    "comma in a text": ("csv", table("well, well,bad"), {}, "row 61 has 3 columns but line 1 names 2; put texts that"),
    "no labels": ("csv", table("a,", "b,"), {}, "row 61: label is empty, as in 2 of 62 rows; fill it or leave these"),
    "short row": ("csv", table("a"), {}, "row 61: label is empty, as in 1 of 61 rows; fill it or leave these rows"),
    "null label": ("jsonl", line(label=None), {}, "row 61: label is empty, as in 1 of 61 rows; fill it or leave"),
    "one class": ("csv", "text,label\na,bad\nb,bad\n", {}, "mine.csv: all 2 rows have the label 'bad'; add texts of"),
    "unsaid": ("csv", table("a,so so", "b,so so"), {}, "row 61: label 'so so' has no verbalizer, as in 2 of 62 rows"),
    "regression": ("csv", table("a,4.22"), {}, "This classifies; regression and generation are not covered"),
    "a list": ("jsonl", line(text=["a"]), {}, "row 61: text is a list and no text; write a text there"),
    "an object": ("jsonl", line(text={"a": 1}), {}, "row 61: text is a dict and no text; write a text there"),
    "half a character": ("jsonl", line(text="\ud83d"), {}, "row 61: text holds half a character"),
    "long field": ("csv", table("a" * (LONGEST_FIELD + 1) + ",bad"), {}, "mine.csv line 62: field larger than"),
    "open quote": ("csv", table('"a,bad' + TABLE * 200), {}, "close a quote that is open before"),
    "long text": ("jsonl", line(text="a" * 6_000_000), {}, "row 61: text has 6,000,000 characters; cut it to 131,072"),
    "nested": ("jsonl", LINES + "[" * 100_000 + "]" * 100_000, {}, "row 61 is lists within lists; write one object"),
    "digits": ("jsonl", LINES + '{"text": ' + "1" * 5000 + "}", {}, "row 61 is not valid JSON"),
    "a label twice": ("csv", TABLE, {"verbalizers": {1: "a", "1.0": "b"}}, "says one label twice; give each label one"),
    "a word of YAML": ("csv", TABLE, {"verbalizers": {"bad": False, "good": True}}, "but False is no word; quote it"),
}


@pytest.mark.parametrize(("kind", "content", "settings", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_told_in_one_line_with_its_place_and_remedy(
    kind: str, content: str | bytes, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011, the message is what is looked at
        read(tmp_path, kind, content, **settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_template_does_not_name_may_be_anything(tmp_path: Path) -> None:
    rows = "".join(
        json.dumps({**json.loads(row), "spans": [[1, 2]], "note": None}) + "\n" for row in LINES.splitlines()
    )
    assert read(tmp_path, "jsonl", rows).train.inputs.equal(read(tmp_path, "jsonl", LINES).train.inputs)
    with pytest.raises(ValueError, match="row 1: spans is a list and no text"):
        read(tmp_path, "jsonl", rows, template="{spans} {label}")
    with pytest.raises(ValueError, match="note is empty; fill it or leave the example out"):
        read(tmp_path, "jsonl", rows, template="{note} {label}")


@pytest.mark.parametrize("label", [True, False, None, 0, 7, -2, 1.0, 2.5, 1e22, "pos", "True", "1.0", "a.b", ""])
def test_a_label_is_spelled_as_before_after_a_way_through_json_as_value_or_as_key(label: Any) -> None:
    assert spelled(json.loads(json.dumps(label))) == spelled(label)
    (key,) = json.loads(json.dumps({label: "word"}))
    assert spelled(key) == spelled(label)
    assert spelled(spelled(label)) == spelled(label)


@pytest.mark.parametrize(("cell", "key"), [("True", True), ("FALSE", False), ("1.0", 1), ("1", 1.0), ("NULL", None)])
def test_a_table_s_cell_is_the_label_that_a_configuration_names(cell: str, key: object) -> None:
    assert spelled(cell) == spelled(key)


def test_rows_of_a_table_may_hold_line_ends_and_quotes() -> None:
    content = b'text,label\r\n"a ""b""\r\nc",bad\r\n\r\nd,good,,\r\n'
    rows = read_rows(Path("mine.csv"), content)
    assert rows == [{"text": 'a "b"\r\nc', "label": "bad"}, {"text": "d", "label": "good"}]
