"""Files as people have them: what is read, and the one line that says what to mend where it is not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tightfit.datasets.dataset import Dataset
from tightfit.datasets.labels import spelled
from tightfit.datasets.rows import LONGEST_FIELD, read_rows
from tightfit.datasets.text_file import text_file

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
        (TABLE.replace(",", "\t"), {"separator": "tab"}),
        (TABLE.replace(",", "\t"), {"separator": r"\t"}),
        (TABLE.encode("utf-16"), {"encoding": "utf-16"}),
        (TABLE.encode("latin-1"), {"encoding": "latin-1"}),
    ],
    ids=["semicolons", "tab by its name", "tab by its escape", "utf-16", "latin-1"],
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
    "semicolons": (
        "csv",
        TABLE.replace(",", ";"),
        {},
        "write \"dataset.separator=';'\", with both pairs of",
    ),
    "no header": ("csv", TABLE.partition("\n")[2], {}, "or set dataset.header=false if line 1 is a row and give"),
    "twice": ("csv", "text,label,text\na,bad,b\n", {}, "mine.csv line 1 names the column 'text' twice; give each a"),
    "empty": ("csv", "", {}, "mine.csv has no rows; write the columns' names in line 1 and a row a line below"),
    "header alone": ("tsv", "text\tlabel\n", {}, "mine.tsv has no rows; write the columns' names in line 1"),
    "empty lines": ("jsonl", "\n\n", {}, "mine.jsonl has no rows; write one object a line"),
    "comma in a text": ("csv", table("well, well,bad"), {}, "row 61 has 3 columns but line 1 names 2; put texts that"),
    "no labels": ("csv", table("a,", "b,"), {}, "row 61: label is empty, as in 2 of 62 rows; fill it, or leave such"),
    "short row": ("csv", table("a"), {}, "row 61: label is empty, as in 1 of 61 rows; fill it, or leave such"),
    "null label": ("jsonl", line(label=None), {}, "row 61: label is empty, as in 1 of 61 rows; fill it, or leave"),
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


PARTS = {"train": 40, "validation": 8, "test": 12}  # rows of the splits as they are published


def published(folder: Path, **changes: Any) -> dict[str, Any]:
    """The settings that name a file for each split; every text says its split and its row."""
    for split, count in PARTS.items():
        rows = "".join(f"{split} {row},{('bad', 'good')[row % 2]}\n" for row in range(count))
        (folder / f"{split}.csv").write_text("text,label\n" + rows)
    files = {split: str(folder / f"{split}.csv") for split in PARTS}
    settings = {"text": "text", "label": "label", "verbalizers": {"bad": "bad", "good": "good"}}
    return {**files, **settings, "template": "{text} {label}", "train_size": None, **changes}


def splits_in(dataset: Dataset) -> list[list[str]]:
    """The texts that are trained on and those that are scored, in order of the alphabet."""
    prompts = [
        [bytes(row.tolist()).rstrip(b"\0").decode().strip() for row in part.inputs]
        for part in (dataset.train, dataset.test)
    ]
    return [sorted(texts) for texts in prompts]


def named(split: str) -> list[str]:
    return sorted(f"{split} {row}" for row in range(PARTS[split]))


@pytest.mark.parametrize("scored", ["validation", "test"])
@pytest.mark.parametrize("form", ["files", "column"])
def test_published_splits_are_those_that_are_trained_on_and_scored(form: str, scored: str, tmp_path: Path) -> None:
    settings = published(tmp_path, scored=scored)
    if form == "column":
        names = {"train": "Training", "validation": "dev", "test": "test"}
        lines = [
            f"{names[split]},{row}"
            for split in reversed(PARTS)
            for row in (tmp_path / f"{split}.csv").read_text().splitlines()[1:]
        ]
        (tmp_path / "all.csv").write_text("\n".join(["part,text,label", *lines]))
        settings |= {**dict.fromkeys(PARTS), "path": str(tmp_path / "all.csv"), "split": "part"}
    dataset = text_file("own", Letters(), **settings)
    assert splits_in(dataset) == [named("train"), named(scored)]
    assert dataset.scored == scored
    assert dataset.balance == {
        "classes": 2,
        "train_counts": [20, 20],
        "scored_counts": [PARTS[scored] // 2] * 2,
        "majority_accuracy": 0.5,
    }


def test_without_a_split_to_validate_on_training_examples_are_kept_for_it(tmp_path: Path) -> None:
    settings = published(tmp_path, validation=None, validation_size=5)
    trained, tested = splits_in(text_file("own", Letters(), **settings))
    again, validated = splits_in(text_file("own", Letters(), **settings, scored="validation"))
    assert (len(trained), len(validated), tested) == (35, 5, named("test"))
    assert again == trained
    assert sorted([*trained, *validated]) == named("train")


def test_files_of_one_name_have_a_checksum_each(tmp_path: Path) -> None:
    for split in PARTS:
        (tmp_path / split).mkdir()
    settings = published(tmp_path)
    moved = {split: Path(settings[split]).rename(tmp_path / split / "data.csv") for split in PARTS}
    dataset = text_file("own", Letters(), **{**settings, **{split: str(path) for split, path in moved.items()}})
    assert list(dataset.checksums) == ["train: data.csv", "validation: data.csv", "test: data.csv"]
    assert len(set(dataset.checksums.values())) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict.fromkeys(PARTS), "the data set names no file; write dataset.path=… for one file, or dataset.train=…"),
        ({"test": None, "validation": None}, "the data set names dataset.train alone; write dataset.path=… for one"),
        ({"train": None}, "the data set names dataset.validation and dataset.test alone; write dataset.path=…"),
        ({"path": "all.csv"}, "dataset.path and dataset.train both name a file; leave dataset.path out"),
        ({"split": "part"}, "dataset.split=part but each split has a file of its own; leave it out"),
        ({"test": None}, "there is no split test to score; give it, or set dataset.scored=validation"),
        ({"missing": "skip"}, "dataset.missing='skip' is nothing to do with empty cells; choose refuse or drop"),
        (
            {"validation": None, "validation_size": 40},
            "dataset.validation_size=40 to validate on, but own has 40 train",
        ),
        ({"validation": None, "train_size": 40, "validation_size": 1}, "dataset.train_size=40 and dataset.validation"),
    ],
)
def test_files_that_make_no_splits_are_told(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        text_file("own", Letters(), **{**published(tmp_path), **changes})


def test_a_split_that_is_none_is_told_with_its_row(tmp_path: Path) -> None:
    content = "part,text,label\ntrain,a,bad\nheld out,b,good\n"
    with pytest.raises(ValueError, match="row 2: part is 'held out', which is no split; write train, validation"):
        read(tmp_path, "csv", content, split="part")


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_columns_without_names_go_by_their_numbers(kind: str, tmp_path: Path) -> None:
    separator = {"csv": ",", "tsv": "\t"}[kind]
    rows = [separator.join([f"id{row}", str(row % 2), "", f"sentence {row}"]) for row in range(60)]
    settings = {"header": False, "verbalizers": {0: "bad", 1: "good"}}
    numbered = read(tmp_path, kind, "\n".join(rows), **settings, text=4, label=2)
    assert splits_in(numbered) == splits_in(read(tmp_path, "csv", TABLE))
    by_template = read(tmp_path, kind, "\n".join(rows), **settings, text=4, label=2, template="{1}: {4} {label}")
    assert splits_in(by_template)[1][0].startswith("id")
    with pytest.raises(ValueError, match=r"has no '5' \(dataset.label\); its columns are \['1', '2', '3', '4'\]"):
        read(tmp_path, kind, "\n".join(rows), **settings, text=4, label=5)
    with pytest.raises(ValueError, match="row 1: 3 is empty, as in 60 of 60 rows"):
        read(tmp_path, kind, "\n".join(rows), **settings, text=3, label=2)


def test_no_header_is_said_of_a_file_whose_rows_name_their_columns(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset.header=false but each row of .*mine.jsonl names its columns"):
        read(tmp_path, "jsonl", LINES, header=False)


@pytest.mark.parametrize(
    "lacking", [{"text": ""}, {"text": None}, {"label": "  "}, {"label": float("nan")}, {"note": ""}]
)
def test_rows_that_lack_something_are_dropped_and_counted_where_that_is_chosen(
    lacking: dict[str, Any], tmp_path: Path
) -> None:
    rows = [{**json.loads(row), "note": "n"} for row in LINES.splitlines()]
    whole = "".join(json.dumps(row) + "\n" for row in rows)
    settings = {"template": "{note} {text} {label}"}
    with_gaps = "".join(json.dumps({**row, **gap}) + "\n" for row in rows for gap in ({}, lacking))
    kept = read(tmp_path, "jsonl", with_gaps, missing="drop", **settings)
    assert splits_in(kept) == splits_in(read(tmp_path, "jsonl", whole, **settings))
    assert kept.details["rows_dropped"] == 60
    with pytest.raises(ValueError, match=r"row 2: .* is empty, as in 60 of 120 rows; fill it, or leave such rows out"):
        read(tmp_path, "jsonl", with_gaps, **settings)


def test_what_is_left_when_all_rows_are_dropped_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mine.csv: all 0 rows lack a text or a label; add texts"):
        read(tmp_path, "csv", "text,label\na,\n,bad\n", missing="drop")


def test_what_a_template_does_not_name_may_be_anything(tmp_path: Path) -> None:
    rows = "".join(
        json.dumps({**json.loads(row), "spans": [[1, 2]], "note": None}) + "\n" for row in LINES.splitlines()
    )
    assert read(tmp_path, "jsonl", rows).train.inputs.equal(read(tmp_path, "jsonl", LINES).train.inputs)
    with pytest.raises(ValueError, match="row 1: spans is a list and no text"):
        read(tmp_path, "jsonl", rows, template="{spans} {label}")
    with pytest.raises(ValueError, match="note is empty, as in 60 of 60 rows; fill it, or leave such rows out"):
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
