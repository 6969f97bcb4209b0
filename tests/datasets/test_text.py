"""Text tasks: what a template makes of a text, the protocol of the draw, and files of the user's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from tightfit.datasets import superglue, vader
from tightfit.datasets.dataset import Dataset
from tightfit.datasets.prompts import Labelled, Prompting, Prompts
from tightfit.datasets.routes import sha256_of
from tightfit.datasets.sentiment import mr, read_tsv, sst2
from tightfit.datasets.text import Splits, drawn, split_by_hash, text_dataset
from tightfit.datasets.text_file import read_rows, text_file


class Letters:
    """A token per letter, its code; words are one token by their first letter."""

    pad = 0
    answers_last = True

    def prompt(self, before: str, after: str, longest: int) -> tuple[list[int], bool]:
        tokens = [ord(letter) for letter in before + after]
        return tokens[-longest:], len(tokens) > longest

    def answer(self, word: str) -> list[int] | None:
        return [ord(word.strip()[0])]


FIELDS = {
    "rte": {"premise": "It rains.", "hypothesis": "It is wet."},
    "cb": {"premise": "It rains.", "hypothesis": "it is wet"},
    "wsc": {"text": "Ann saw Bo. She left.", "span1": "Ann", "span2": "she"},
    "boolq_dev_resplit": {"passage": "Rain -- is water.", "question": "Is rain wet"},
    "sst2": {"text": "a fine film"},
}
# Malladi et al. (2023), table of templates.
PROMPTS = {
    "rte": 'It rains.\nDoes this mean that "It is wet." is true? Yes or No?\n',
    "cb": 'Suppose It rains. Can we infer that "it is wet"? Yes, No, or Maybe?\n',
    "wsc": 'Ann saw Bo. She left.\nIn the previous sentence, does the pronoun "she" refer to Ann? Yes or No?\n',
    "boolq_dev_resplit": "Rain -- is water. Is rain wet?\n",
    "sst2": "a fine film It was ",
}


@pytest.mark.parametrize("name", PROMPTS)
def test_committed_templates_are_those_of_mezo(name: str) -> None:
    from omegaconf import OmegaConf

    config: Any = OmegaConf.load(Path(__file__).parents[2] / "conf" / "dataset" / f"{name}.yaml")
    prompting = Prompting(template=config.template, verbalizers=list(config.verbalizers))
    (tokens,) = Prompts(prompting, Letters(), ()).read(Labelled(FIELDS[name], 0)).rows
    assert "".join(map(chr, tokens)) == PROMPTS[name]


def texts(count: int) -> list[Labelled]:
    return [Labelled({"text": f"text {index}"}, index % 2) for index in range(count)]


def make(splits: Splits, **prompting: Any) -> Dataset:
    options = {"template": "{text} It was {label}", "verbalizers": ["terrible", "great"], **prompting}
    return text_dataset("made", splits, Letters(), Prompting(**options), "made", {})


def test_prompts_are_padded_on_the_right_and_scored_ones_stand_by_length() -> None:
    short, long = Labelled({"text": "ab"}, 1), Labelled({"text": "abcdefgh"}, 0)
    dataset = make(Splits([short], [long, short], [short]), train_size=None)
    assert dataset.answers == (ord("t"), ord("g"))
    assert dataset.test.labels.tolist() == [1, 0]
    assert dataset.test.inputs.shape == (2, 16)
    assert bytes(dataset.test.inputs[0].tolist()).rstrip(b"\0") == b"ab It was "


def test_prompts_that_are_too_long_lose_their_beginning_and_are_counted() -> None:
    dataset = make(Splits(texts(4), texts(4), texts(1)), train_size=None, sequence_length=6)
    assert dataset.details["prompts_cut"] == 8
    assert bytes(dataset.test.inputs[0].tolist()).rstrip(b"\0") == b"t was "


def test_braces_within_a_text_are_left_as_they_are() -> None:
    dataset = make(Splits([Labelled({"text": "{text} {label}"}, 0)], texts(1), texts(1)), train_size=None)
    assert bytes(dataset.train.inputs[0].tolist()).rstrip(b"\0") == b"{text} {label} It was "


def test_the_draw_is_the_protocols_and_always_the_same() -> None:
    prompting = Prompting("{label}", ["a", "b"], train_size=60, validation_size=20, test_size=10)
    splits = Splits(texts(100), [Labelled({"text": f"test {index}"}, 0) for index in range(30)])
    train, test = drawn(splits, prompting, "made")
    again, _ = drawn(splits, prompting, "made")
    scored = Prompting("{label}", ["a", "b"], train_size=60, validation_size=20, test_size=10, scored="validation")
    _, validation = drawn(splits, scored, "made")
    assert train == again
    assert [len(train), len(validation), len(test)] == [60, 20, 10]
    assert not {text.fields["text"] for text in train} & {text.fields["text"] for text in validation}
    assert all(text.fields["text"].startswith("test") for text in test)


def test_without_a_size_all_that_is_not_held_out_is_trained_on() -> None:
    prompting = Prompting("{label}", ["a", "b"], train_size=None, validation_size=20)
    assert len(drawn(Splits(texts(100), texts(3)), prompting, "made")[0]) == 80


def test_an_empty_text_is_named() -> None:
    with pytest.raises(ValueError, match="row 3: text is empty; fill it or leave the example out"):
        make(Splits([Labelled({"text": " "}, 0, "row 3")], texts(1), texts(1)), train_size=None)


def test_a_hash_splits_80_10_10_and_keeps_equal_texts_together() -> None:
    splits = split_by_hash(texts(4000), "text")
    sizes = [len(part) for part in (splits.train, splits.validation, splits.test)]
    assert sum(sizes) == 4000
    assert all(abs(size - expected) < 100 for size, expected in zip(sizes, (3200, 400, 400), strict=True))
    twins = split_by_hash([Labelled({"text": text}, 0) for text in ("A  text ", "a text")], "text")
    assert sorted(len(part) for part in (twins.train, twins.validation, twins.test)) == [0, 0, 2]


ROWS = [{"body": f"text {index}", "mood": ("sad", "glad")[index % 2], "site": "x"} for index in range(60)]
SETTINGS = {
    "text": "body",
    "label": "mood",
    "verbalizers": {"sad": "bad", "glad": "good"},
    "template": "{site}: {text} {label}",
    "train_size": None,
    "validation_size": 2,
}


def written(folder: Path, kind: str, rows: list[dict[str, str]]) -> str:
    path = folder / f"mine.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        separator = {"tsv": "\t", "csv": ","}[kind]
        path.write_text("\n".join(separator.join(cells) for cells in [list(rows[0]), *(row.values() for row in rows)]))
    return str(path)


@pytest.mark.parametrize("kind", ["jsonl", "tsv", "csv"])
def test_a_users_own_file_is_read_by_its_columns(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, kind, ROWS)
    dataset = text_file("text_file", Letters(), path, **SETTINGS)
    assert dataset.answers == (ord("b"), ord("g"))
    assert dataset.checksums == {f"mine.{kind}": sha256_of(Path(path).read_bytes())}
    prompt = bytes(dataset.train.inputs[0].tolist()).rstrip(b"\0").decode()
    number = int(prompt.split()[-1])
    assert prompt == f"x: text {number} "
    assert dataset.train.labels[0] == number % 2


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_unicode_calls_line_ends_are_part_of_a_text(end: str, tmp_path: Path) -> None:
    content = "".join(json.dumps({"body": f"a\u2028b\x85c {row}"}, ensure_ascii=False) + end for row in (1, 2))
    rows = read_rows(Path("mine.jsonl"), content.encode())
    assert [row["body"] for row in rows] == ["a\u2028b\x85c 1", "a\u2028b\x85c 2"]


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([{**ROWS[0], "mood": "so so"}], {}, "row 1: label 'so so' has no verbalizer, as in 1 of 1 rows; dataset"),
        (ROWS, {"text": "words"}, r"has no 'words' \(dataset.text\); its columns are \['body', 'mood', 'site'\]"),
        (ROWS, {"label": "class"}, r"has no 'class' \(dataset.label\)"),
        (ROWS, {"template": "{title} {label}"}, r"has no 'title' \(dataset.template \{title\}\)"),
        (ROWS, {"verbalizers": ["bad", "good"]}, "dataset.verbalizers=.* names no labels; write {label: word, …}"),
        ([*ROWS, {**ROWS[0], "body": ""}], {}, "row 61: body is empty, as in 1 of 61 rows; fill it, or leave"),
    ],
)
def test_a_file_that_does_not_fit_its_settings_is_told(
    rows: list[dict[str, str]], settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        text_file("text_file", Letters(), written(tmp_path, "jsonl", rows), **{**SETTINGS, **settings})


@pytest.mark.parametrize(
    ("line", "message"),
    [('{"body": "text', "row 2 is not valid JSON"), ('["text", "sad"]', "row 2 is .* which has no columns")],
)
def test_a_line_that_is_no_object_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = Path(written(tmp_path, "jsonl", ROWS[:1]))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=message):
        text_file("text_file", Letters(), str(path), **SETTINGS)


def test_a_file_too_small_to_have_anything_to_score_is_told(tmp_path: Path) -> None:
    train = [row for row in ROWS if split_by_hash([Labelled({"text": row["body"]}, 0)], "text").train]
    with pytest.raises(ValueError, match="text_file has no test examples to score; give it more texts"):
        text_file("text_file", Letters(), written(tmp_path, "jsonl", train), **SETTINGS)


def test_a_class_without_a_word_is_named() -> None:
    with pytest.raises(ValueError, match=r"row 7 is of class 2, but .* says classes 0–1; give a word for each class"):
        make(Splits([Labelled({"text": "a text"}, 2, "row 7")], texts(1), texts(1)), train_size=None)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.xls").write_text("")
    with pytest.raises(ValueError, match=r"mine.xls is no file this reads; choose a .jsonl, .tsv or .csv file"):
        text_file("text_file", Letters(), str(tmp_path / "mine.xls"), **SETTINGS)


def test_vader_reads_the_sign_of_ratings_and_leaves_zeros_out() -> None:
    content = b"1\t2.27\tThe Rock is destined.\n2\t-0.6\tEffective but too tepid.\n3\t0.0\tSo so.\n"
    assert [(text.fields["text"], text.label) for text in vader.read(content)] == [
        ("The Rock is destined.", 1),
        ("Effective but too tepid.", 0),
    ]


def test_sst2_reads_sentence_and_class_after_a_header() -> None:
    (text,) = read_tsv(b"sentence\tlabel\nit 's slow \t0\n", "f.tsv")
    assert (text.fields, text.label, text.source) == ({"text": "it 's slow"}, 0, "f.tsv line 2")


def test_superglue_rows_become_the_fields_of_the_templates() -> None:
    boolq = json.dumps({"question": "is rain wet?", "passage": "Rain.", "label": True}).encode()
    (text,) = superglue.read(boolq, "val.jsonl", superglue.SOURCES["boolq_dev_resplit"])
    assert (text.fields, text.label) == ({"passage": "Rain.", "question": "Is rain wet"}, 1)
    target = {"span1_text": "Ann", "span2_text": "She", "span1_index": 0, "span2_index": 3}
    wsc = json.dumps({"text": "Ann saw Bo. She left.", "target": target, "label": False}).encode()
    (text,) = superglue.read(wsc, "val.jsonl", superglue.SOURCES["wsc"])
    assert text.fields == {"text": "Ann saw Bo. She left.", "span1": "Ann", "span2": "she"}


@pytest.mark.parametrize("task", [sst2, mr])
def test_a_folder_without_the_files_is_told_which_to_put_there(task: Any, tmp_path: Path) -> None:
    prompting = {"template": "{text} {label}", "verbalizers": ["a", "b"]}
    with pytest.raises(ValueError, match=r"holds neither (alps_train.tsv|rt-polarity.neg)"):
        task("task", Letters(), folder=str(tmp_path), **prompting)
