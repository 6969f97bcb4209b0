"""A finished run as its model, with what the model reads and what its answers mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tightfit.commands.words import WrongWords
from tightfit.datasets.batches import encoding_for
from tightfit.datasets.candidates import reader_of
from tightfit.datasets.dataset import Answers, Appended, Dataset, Examples
from tightfit.datasets.labels import spelled
from tightfit.datasets.prompts import Prompting
from tightfit.models.base import Encoding
from tightfit.models.candidates import CandidateLM
from tightfit.records.record import RunRecord, read_run, require
from tightfit.run.evaluate import cross_entropy
from tightfit.run.gain import trained
from tightfit.run.parts import (
    build,
    build_dataset,
    build_optimizer,
    build_tokenizer,
    choose_device,
    without_descriptions,
)
from tightfit.run.replay import NEEDED
from tightfit.run.session import build_model


@dataclass(frozen=True)
class Trained:
    """dataset: without examples where the model reads texts, for which the files need not be there."""

    record: RunRecord
    config: Mapping[str, Any]  # of the model that was trained, which a budget may have chosen
    model: nn.Module
    dataset: Dataset
    tokenizer: Any

    @property
    def encode(self) -> Encoding:
        return encoding_for(self.model, self.dataset)

    def will_read(self, answers: Answers) -> None:
        """From now on the model reads examples with `answers`, where these are appended: one may be longer than any in
        training."""
        if isinstance(answers, Appended) and isinstance(self.model, CandidateLM):
            self.model.longest = answers.longest

    @property
    def prompting(self) -> Prompting:
        """How texts become prompts. Raises WrongWords where the model reads none."""
        if self.tokenizer is None:
            raise WrongWords(f"model={self.config['model']['name']} reads no text; give it images by file=…")
        return prompting_of(self.config["dataset"], self.record.dataset)

    @property
    def labels(self) -> list[str]:
        """What the classes are called, in order."""
        said = self.config["dataset"].get("verbalizers") if "labels" not in self.record.dataset else None
        if said is not None:
            return [spelled(label) for label in said] if isinstance(said, Mapping) else list(said)
        numbers = [str(number) for number in range(self.dataset.classes)]
        return list(self.record.dataset.get("labels", self.dataset.details.get("labels", numbers)))


def load(folder: Path) -> Trained:
    """The run in `folder`, whose record is trusted: see `check_code`.

    Only tensors are read of its weights, never code.
    Raises ValueError when the run has not finished, or its weights are not those on record.
    """
    record = read_run(folder)
    if record is None or record.status != "finished":
        raise WrongWords(f"{folder} holds no run that finished; name the folder or the key of one")
    require(folder, record, *NEEDED, "model.name")
    config = as_chosen(record)
    choose_device(config)
    tokenizer = build_tokenizer(config)
    dataset = build_dataset(config, None) if tokenizer is None else unread(config["dataset"], record.dataset, tokenizer)
    # Weights on record take the place of those of a pretraining run, which is not asked for.
    fresh = build_model(
        {**config, "pretraining": None, "start_from": None},
        dataset,
        tokenizer,
        build(without_descriptions(config["adapter"])),
    )
    learner = build_optimizer(config).bind(fresh, cross_entropy, config["seed"])
    model = trained(learner.resting_model(), folder, record)
    return Trained(record, config, model.eval(), dataset, tokenizer)


def as_chosen(record: RunRecord) -> dict[str, Any]:
    """The configuration of the run, with the model that was trained in place of larger ones that did not fit."""
    config = dict(record.config)
    for _ in record.model.get("passed_over", ()):
        config = {**config, "smaller": None, **config["smaller"]}
    return config


def prompting_of(dataset: Mapping[str, Any], recorded: Mapping[str, Any]) -> Prompting:
    """How texts become prompts, by the settings of a data set and what is on record of it."""
    longest = {name: dataset[name] for name in ("sequence_length",) if name in dataset}
    if "verbalizers" not in dataset:
        return Prompting(template=dataset["template"], choices=recorded["classes"], **longest)
    said = dataset["verbalizers"]
    words = tuple(said.values() if isinstance(said, Mapping) else said)
    return Prompting(template=dataset["template"], verbalizers=words, **longest)


def unread(dataset: Mapping[str, Any], recorded: Mapping[str, Any], tokenizer: Any) -> Dataset:
    """A text task without its texts."""
    prompting = prompting_of(dataset, recorded)
    none = Examples(torch.empty(0, 1, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    answers = reader_of(prompting, tokenizer).answers
    return Dataset(dataset["name"], prompting.classes, none, none, "test", 0.0, 1.0, "none read", {}, answers=answers)
