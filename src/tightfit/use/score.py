"""How right a trained model is on other data: `tightfit score run=0123456789ab file=other.tsv`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tightfit.commands import DONE, carry_out
from tightfit.commands.verbs import SCORE
from tightfit.commands.words import Said, WrongWords
from tightfit.datasets.dataset import Appended, Dataset, Examples
from tightfit.run import evaluate
from tightfit.run.faults import EXPECTED
from tightfit.run.folders import folder_of
from tightfit.run.metrics import Score
from tightfit.run.parts import build_dataset
from tightfit.run.trust import check_code
from tightfit.use.reading import from_file
from tightfit.use.trained import Trained, load

Z_975 = 1.959964


@dataclass(frozen=True)
class Scored:
    """Of data called `of`, whose classes go by `labels`."""

    of: str
    labels: Sequence[str]
    score: Score

    @property
    def majority(self) -> float:
        """The accuracy of always giving the most frequent class."""
        return max(self.score.of_class) / self.score.examples

    @property
    def interval(self) -> tuple[float, float]:
        """Of the accuracy, 95 %, for examples drawn at random: Wilson's."""
        n, p, z = self.score.examples, self.score.accuracy, Z_975
        middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def scored(run: Trained, examples: Examples, of: str) -> Scored:
    return Scored(of, run.labels, evaluate.score(run.model, examples, run.encode))


def score_dataset(run: Trained, said: Mapping[str, Any]) -> Scored:
    """On the scored split of the data set `said`, in the run's words.

    Raises ValueError where its classes are not those of the run.
    """
    dataset: Dataset = build_dataset({**run.config, "dataset": dict(said)}, run.tokenizer)
    run.will_read(dataset.answers)
    alike = isinstance(dataset.answers, Appended) and isinstance(run.dataset.answers, Appended)
    if dataset.classes != run.dataset.classes or not (alike or dataset.answers == run.dataset.answers):
        raise ValueError(
            f"{dataset.name} has {dataset.classes} classes that are not the {run.dataset.classes} of the run; choose "
            "data of these classes, and for texts the run's verbalizers"
        )
    if names_of(dataset) and names_of(run.dataset) and names_of(dataset) != names_of(run.dataset):
        raise ValueError(
            f"{dataset.name} has the classes {', '.join(names_of(dataset))}, the run {', '.join(names_of(run.dataset))}"
        )
    own = replace(run, dataset=replace(dataset, mean=run.dataset.mean, std=run.dataset.std))  # as it was trained
    return scored(own, dataset.test, f"{dataset.name}, {dataset.scored}")


def names_of(dataset: Dataset) -> list[str]:
    return dataset.details.get("labels", [])


def main(words: Sequence[str]) -> int:
    return carry_out(SCORE, words, score, EXPECTED)


def score(said: Said) -> int:
    """Score the run that was said; the exit code."""
    settings = said.settings
    others = [word for word in said.of_a_run if not word.startswith(("dataset=", "dataset."))]
    if others:
        raise WrongWords(f"{others[0]} is nothing that a score takes; it has run, file, trust and dataset…=…")
    if settings["file"] and said.of_a_run:
        raise WrongWords(f"file={settings['file']} and {said.of_a_run[0]} both name data; leave one out")
    folder = folder_of(settings["run"])
    check_code(folder, settings["trust"])
    run = load(folder)
    if settings["file"]:
        path = Path(settings["file"])
        found = scored(run, from_file(run, path, labelled=True).examples, path.name)
    else:
        found = score_dataset(run, dataset_said(run.config["dataset"], said.of_a_run))
    print(told(found))
    return DONE


def told(found: Scored) -> str:
    """What was found, in two lines."""
    score, (low, high) = found.score, found.interval
    recalls = (
        f"{label} {recall:.2%}" for label, recall in zip(found.labels, score.recall, strict=True) if recall is not None
    )
    return (
        f"{found.of}: accuracy {score.accuracy:.2%} of {score.examples:,} (95 % interval {low:.2%} to {high:.2%}), "
        f"loss {score.loss:.4f}; always answering the most frequent class is right for {found.majority:.2%}\n"
        f"macro F1 {score.macro_f1:.3f}, Matthews {score.matthews:.3f}, recall: {', '.join(recalls)}"
    )


def dataset_said(of_run: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """The data set that `words` describe: another option with its settings, or that of the run with some changed."""
    from tightfit.run.composed import composed, with_settings

    chosen = next((word.partition("=")[2] for word in words if word.startswith("dataset=")), of_run["name"])
    settings = [word for word in words if not word.startswith("dataset=")]
    return with_settings(of_run, settings) if chosen == of_run["name"] else composed(words)["dataset"]
