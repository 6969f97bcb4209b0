"""Inputs for a trained model from outside of its data set: a text, rows of a file, or images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tightfit.commands.words import WrongWords
from tightfit.datasets.candidates import reader_of
from tightfit.datasets.dataset import Examples
from tightfit.datasets.image_folder import MODES, SUFFIXES, read_image
from tightfit.datasets.labels import spelled
from tightfit.datasets.multiple_choice import answers_in
from tightfit.datasets.prompts import ANSWER, Labelled
from tightfit.datasets.rows import Row, check_text, read_rows, whole_rows
from tightfit.use.trained import Trained


@dataclass(frozen=True)
class Inputs:
    """examples: as the data set of the run has them; labels are all 0 where none are known. shown: each in words."""

    examples: Examples
    shown: Sequence[str]


def from_text(run: Trained, text: str) -> Inputs:
    """Raises WrongWords where the run's template names more than one column."""
    if choices_of(run):
        raise WrongWords("the run's questions have answers of their own to choose from; give them by file=…")
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
    columns |= {f"dataset.choices {column}": column for column in choices_of(run)}
    if labelled:
        columns["label"] = column_of(run, "label")
    return whole_rows(path, rows, columns, drop=said.get("missing") == "drop")


def column_of(run: Trained, field: str) -> str:
    """Where a file has what the template calls `field`: the run's own files may have another name for it."""
    return str(run.config["dataset"].get(field, field)) if field in ("text", "label") else field


def text_in(run: Trained, row: Row, source: str, labelled: bool) -> Labelled:
    fields = {name: "" if value is None else str(value) for name, value in row.items()}
    check_text(row, set(fields) - set(choices_of(run)), source)
    if (column := column_of(run, "text")) in fields:
        fields["text"] = fields[column]
    choices = answers_in((source, row), choices_of(run)) if choices_of(run) else []
    if choices and len(choices) != run.dataset.classes:
        raise ValueError(f"{source} has {len(choices)} answers to choose from, the run {run.dataset.classes}")
    if not labelled:
        return Labelled(fields, 0, source, choices)
    label = spelled(row[column_of(run, "label")])
    if label not in run.labels:
        raise ValueError(f"{source}: label {label!r} is no class of the run, which has {', '.join(run.labels)}")
    return Labelled(fields, run.labels.index(label), source, choices)


def choices_of(run: Trained) -> list[str]:
    """The columns of the answers to choose from; none where answers are words of the task."""
    said = run.config["dataset"].get("choices", ())
    return [str(said)] if isinstance(said, str | int) else [str(column) for column in said]


def prompts(run: Trained, texts: Sequence[Labelled]) -> Inputs:
    reader = reader_of(run.prompting, run.tokenizer)
    read = [reader.read(text) for text in texts]
    run.will_read(reader.answers)
    shown = [text.fields.get("text") or " | ".join(text.fields.values()) for text in texts]
    return Inputs(reader.examples(read, list(texts)), shown)


def from_image(run: Trained, path: Path) -> Inputs:
    """An image scaled to those of the run's data set; others than grey or coloured squares are refused."""
    shape = run.dataset.example_shape
    if len(shape) != 3 or shape[1] != shape[2] or shape[0] not in MODES:
        raise WrongWords(f"the run's examples are {' × '.join(map(str, shape))}, no square images; score data sets")
    image = read_image(path, shape[1], MODES[shape[0]])
    return Inputs(Examples(image[None], torch.zeros(1, dtype=torch.int64)), [path.name])
