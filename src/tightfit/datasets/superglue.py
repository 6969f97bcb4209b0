"""RTE, CB, WSC and BoolQ as SuperGLUE publishes them (Wang et al., 2019), with the fields that MeZO's templates name.

`boolq_dev_resplit` cuts BoolQ's 3,270 development questions anew, because their training set is carried by fewer
sources; every report calls it so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tightfit.datasets.dataset import Dataset
from tightfit.datasets.prompts import Labelled, Prompting, Tokenizer
from tightfit.datasets.routes import Route, from_zip_url, obtain
from tightfit.datasets.text import Splits, shuffled, text_dataset
from tightfit.records.cosmetic import cosmetic

ADDRESS = "https://dl.fbaipublicfiles.com/glue/superglue/data/v2/"
TRAIN, VALIDATION = "train.jsonl", "val.jsonl"
RESPLIT_TEST = 1000


@dataclass(frozen=True)
class Source:
    """One task: its archive, its files, its labels in the order of the verbalizers, and its fields."""

    archive: str
    checksums: Mapping[str, str]
    labels: tuple[Any, ...]
    fields: Callable[[Mapping[str, Any]], dict[str, str]]


def premise_and_hypothesis(row: Mapping[str, Any]) -> dict[str, str]:
    return {"premise": row["premise"], "hypothesis": row["hypothesis"]}


def text_and_spans(row: Mapping[str, Any]) -> dict[str, str]:
    spans = row["target"]
    return {"text": row["text"], "span1": spans["span1_text"], "span2": spans["span2_text"].lower()}


def passage_and_question(row: Mapping[str, Any]) -> dict[str, str]:
    question = row["question"].rstrip("?")
    return {"passage": row["passage"], "question": question[:1].upper() + question[1:]}


SOURCES = {
    "rte": Source(
        archive="RTE",
        checksums={
            TRAIN: "fdfb03443abe3ec0424b7fc5d1a8863361719bc061338b7a63e56b94d615f201",
            VALIDATION: "ab990507bf5f35dc176cba7770a72bfa2c50a88ed72b8cc95cfbf9db95ab1af1",
        },
        labels=("entailment", "not_entailment"),
        fields=premise_and_hypothesis,
    ),
    "cb": Source(
        archive="CB",
        checksums={
            TRAIN: "32017480d3a10508646e3efd64502c639f13d4d15077f278d2fd0992c33a3126",
            VALIDATION: "c6125587e9601560cb16ea223c33964c5a915568d2af68a81f651b6ef25395ec",
        },
        labels=("entailment", "contradiction", "neutral"),
        fields=premise_and_hypothesis,
    ),
    "wsc": Source(
        archive="WSC",
        checksums={
            TRAIN: "0ffaa3fd8d21e58a0805962565d1619aa4819bc3d034255777f606f801ae5a42",
            VALIDATION: "e5c685ea4bdc347354036a28176459f6feeb0b6870375ecfb3d6ddb1f0e28bef",
        },
        labels=(False, True),
        fields=text_and_spans,
    ),
    "boolq_dev_resplit": Source(
        archive="BoolQ",
        checksums={VALIDATION: "0c86a5045886e5795fe9052003873f7d94b88ed3028a33007c51d99e44fd66d9"},
        labels=(False, True),
        fields=passage_and_question,
    ),
}


@cosmetic("title", "folder", "cache")  # checksums on record, not the place, tell what the data was
def superglue(
    name: str,
    tokenizer: Tokenizer,
    title: str = "",
    folder: str | None = None,
    cache: str | None = None,
    **prompting: Any,
) -> Dataset:
    """The task called `name`; what it scores comes from the published development set, whose labels are known."""
    source = SOURCES[name]
    members = {file: f"{source.archive}/{file}" for file in source.checksums}
    address = f"{ADDRESS}{source.archive}.zip"
    archive = Route(address, lambda: from_zip_url(address, members))
    files, route = obtain(name, source.checksums, [archive], folder, cache)
    texts = {file: read(content, file, source) for file, content in files.items()}
    if TRAIN in texts:
        splits = Splits(texts[TRAIN], texts[VALIDATION])
    else:
        pool = shuffled(texts[VALIDATION], 0, "resplit")
        splits = Splits(pool[RESPLIT_TEST:], pool[:RESPLIT_TEST])
    return text_dataset(name, splits, tokenizer, Prompting(**prompting), route, source.checksums)


def read(content: bytes, file: str, source: Source) -> list[Labelled]:
    rows = [json.loads(line) for line in content.decode().splitlines()]
    return [
        Labelled(source.fields(row), source.labels.index(row["label"]), f"{file} line {number}")
        for number, row in enumerate(rows, start=1)
    ]
