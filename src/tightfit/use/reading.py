"""Inputs for a trained model from outside of its data set: a text, rows of a file, or images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tightfit.datasets.dataset import Examples
from tightfit.datasets.image_folder import MODES, SUFFIXES, read_image
from tightfit.datasets.labels import spelled
from tightfit.datasets.rows import Row, check_text, read_rows, whole_rows
from tightfit.datasets.text import ANSWER, Labelled, PromptEncoder, padded
from tightfit.settings import WrongWords
from tightfit.use.trained import Trained


@dataclass(frozen=True)
class Inputs:
    """examples: as the data set of the run has them; labels are all 0 where none are known. shown: each in words."""

    examples: Examples
    shown: Sequence[str]


def from_text(run: Trained, text: str) -> Inputs:
    """Raises WrongWords where the run's template names more than one column."""
    fields = sorted(set(re.findall(r"\{(\w+)\}", run.prompting.template)) - {ANSWER.strip("{}")})
    if len(fields) > 1:
        raise WrongWords(f"the run's template names {', '.join(fields)}; give texts by file=… with these columns")
    return prompts(run, [Labelled(dict.fromkeys(["text", *fields], text), 0, "text")])


def from_file(run: Trained, path: Path, labelled: bool = False) -> Inputs:
    """The rows of `path`, in order, or an image. labelled: whether each has a label, which is read.

    Raises ValueError for a file of another kind, rows that lack something, and labels that are no class of the run.
    """
    if run.tokenizer is None:
        if labelled or path.suffix.lower() not in SUFFIXES:
            raise WrongWords(f"file={path} is no image ({', '.join(SUFFIXES)}); to score others write dataset.…=…")
        return from_image(run, path)
    if path.suffix == ".txt" and not labelled:
        lines = [line for line in path.read_text().split("\n") if line.strip()]
        return prompts(run, [Labelled({"text": line}, 0, f"{path} line") for line in lines])
    return prompts(run, [text_in(run, row, source, labelled) for source, row in rows_of(run, path, labelled)])


def rows_of(run: Trained, path: Path, labelled: bool) -> list[tuple[str, Row]]:
    said = run.config["dataset"]
    header = said.get("header") is not False or path.suffix == ".jsonl"
    rows = read_rows(path, path.read_bytes(), said.get("encoding") or "utf-8", said.get("separator"), header)
    columns = {field: column_of(run, field) for field in re.findall(r"\{(\w+)\}", run.prompting.template)}
    columns.pop("label", None)
    if labelled:
        columns["label"] = column_of(run, "label")
    return whole_rows(path, rows, columns, drop=said.get("missing") == "drop")


def column_of(run: Trained, field: str) -> str:
    """Where a file has what the template calls `field`: the run's own files may have another name for it."""
    return str(run.config["dataset"].get(field, field)) if field in ("text", "label") else field


def text_in(run: Trained, row: Row, source: str, labelled: bool) -> Labelled:
    fields = {name: "" if value is None else str(value) for name, value in row.items()}
    check_text(row, fields, source)
    if (column := column_of(run, "text")) in fields:
        fields["text"] = fields[column]
    if not labelled:
        return Labelled(fields, 0, source)
    label = spelled(row[column_of(run, "label")])
    if label not in run.labels:
        raise ValueError(f"{source}: label {label!r} is no class of the run, which has {', '.join(run.labels)}")
    return Labelled(fields, run.labels.index(label), source)


def prompts(run: Trained, texts: Sequence[Labelled]) -> Inputs:
    encoder = PromptEncoder(run.prompting, run.tokenizer)
    tokens = [encoder.prompt(text) for text in texts]
    shown = [text.fields.get("text") or " | ".join(text.fields.values()) for text in texts]
    return Inputs(padded(tokens, list(texts), run.tokenizer.pad), shown)


def from_image(run: Trained, path: Path) -> Inputs:
    """An image scaled to those of the run's data set; others than grey or coloured squares are refused."""
    shape = run.dataset.example_shape
    if len(shape) != 3 or shape[1] != shape[2] or shape[0] not in MODES:
        raise WrongWords(f"the run's examples are {' × '.join(map(str, shape))}, no square images; score data sets")
    image = read_image(path, shape[1], MODES[shape[0]])
    return Inputs(Examples(image[None], torch.zeros(1, dtype=torch.int64)), [path.name])
