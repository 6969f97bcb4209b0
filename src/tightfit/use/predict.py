"""What a trained model answers: `tightfit predict run=0123456789ab text="a fine film"`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tightfit.commands import DONE, carry_out
from tightfit.commands.verbs import PREDICT
from tightfit.commands.words import Said, WrongWords
from tightfit.records.record import append_csv
from tightfit.run.evaluate import answers
from tightfit.run.faults import EXPECTED
from tightfit.run.folders import folder_of
from tightfit.run.trust import check_code
from tightfit.use.reading import Inputs, from_file, from_text
from tightfit.use.trained import Trained, load


@dataclass(frozen=True)
class Prediction:
    """label: the class of the largest probability. probabilities: by class, of sum 1."""

    shown: str
    label: str
    probabilities: dict[str, float]


def predictions(run: Trained, inputs: Inputs) -> list[Prediction]:
    """One for each input, in order."""
    logits = torch.cat([part for part, _ in answers(run.model, inputs.examples, run.encode)])  # (n, c)
    made = []
    for shown, row in zip(inputs.shown, logits.softmax(dim=1).tolist(), strict=True):
        probabilities = dict(zip(run.labels, row, strict=True))
        made.append(Prediction(shown, max(probabilities, key=probabilities.__getitem__), probabilities))
    return made


def main(words: Sequence[str]) -> int:
    return carry_out(PREDICT, words, predict, EXPECTED)


def predict(said: Said) -> int:
    """Answer what was said; the exit code."""
    settings = said.settings
    if (settings["text"] is None) == (settings["file"] is None):
        raise WrongWords("predict answers one text or a file of them; write text=… or file=…")
    folder = folder_of(settings["run"])
    check_code(folder, settings["trust"])
    run = load(folder)
    by_text = settings["text"] is not None
    inputs = from_text(run, settings["text"]) if by_text else from_file(run, Path(settings["file"]))
    made = predictions(run, inputs)
    if settings["out"]:
        append_csv(Path(settings["out"]), [columns(each) for each in made], "the predictions of this run")
        print(f"{settings['out']}: {len(made):,} predictions")
        return DONE
    for each in made:
        print(f"{each.label}  {each.probabilities[each.label]:.1%}  {each.shown}")
    return DONE


def columns(made: Prediction) -> dict[str, str | float]:
    """A line of a table."""
    by_class = {f"p({label})": round(value, 6) for label, value in made.probabilities.items()}
    return {"input": made.shown, "label": made.label, **by_class}
