"""Score adapters that a device trained, in the framework: `tightfit score-program run=… adapters=…`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from tightfit.commands import DONE, carry_out
from tightfit.commands.verbs import SCORE_PROGRAM
from tightfit.commands.words import Said
from tightfit.models.adapters.mp_lora import adapters_of
from tightfit.program.export import prepared
from tightfit.run.evaluate import cross_entropy, score
from tightfit.run.faults import EXPECTED
from tightfit.run.folders import folder_of
from tightfit.run.metrics import Score
from tightfit.run.trust import check_code


def score_adapters(folder: Path, path: Path) -> Score:
    """Accuracy and loss, on the scored split, of the run's model with the adapters in `path`.

    Raises ValueError when they are not of this model.
    """
    from safetensors.torch import load_file  # of the extra `export`

    _, optimizer, course = prepared(folder)
    task = course.task
    optimizer.bind(task.model, cross_entropy, task.seed)
    trained, own = load_file(path), {f"{name}.B": adapter.B for name, adapter in adapters_of(task.model).items()}
    shapes = [{name: tuple(B.shape) for name, B in each.items()} for each in (trained, own)]
    if shapes[0] != shapes[1]:
        different = sorted(set(shapes[0].items()) ^ set(shapes[1].items()))
        raise ValueError(f"{path} does not fit the run's model: {len(different)} differences, as {different[0]}")
    with torch.no_grad():
        for name, B in own.items():
            B.copy_(trained[name])
    return score(task.model, task.dataset.test.to(task.device), course.encode)


def main(words: Sequence[str]) -> int:
    return carry_out(SCORE_PROGRAM, words, score_as_told, EXPECTED)


def score_as_told(said: Said) -> int:
    """Score the adapters that were said, and say how they do; the exit code."""
    folder = folder_of(said.settings["run"])
    check_code(folder, said.settings["trust"])
    result = score_adapters(folder, Path(said.settings["adapters"]))
    print(f"accuracy {result.accuracy:.2%}, loss {result.loss:.4f}")
    return DONE
