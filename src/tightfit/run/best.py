"""The weights of the best evaluation, where a run keeps those instead of its last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from tightfit.records.record import ANEW
from tightfit.run.checkpoint import BEST, save, take_weights, weights_digest
from tightfit.run.metrics import Score
from tightfit.run.task import Task

if TYPE_CHECKING:
    from tightfit.run.course import Position


class Best:
    """Each candidate is a file of its own, named by its step, so that a checkpoint names one that is there: others are
    deleted only after a checkpoint was written.

    Raises ValueError where examples of the test split would choose.
    """

    def __init__(self, task: Task, folder: Path) -> None:
        self.is_kept = task.training.keep == "best"
        self._metric, self._folder = task.training.chosen_by, folder
        if self.is_kept and task.dataset.scored != "validation":
            raise ValueError(
                f"training.keep=best would choose by the {task.dataset.scored} split, whose scores would then mean "
                "nothing; score validation examples (dataset.scored=validation, or dataset.held_out=…), and the test "
                "split once, by tightfit score"
            )

    def consider(self, score: Score, position: Position, model: Callable[[], nn.Module]) -> None:
        """Keep the weights of `model` if none before were as good; of equal ones the first are kept."""
        value = score.by(self._metric)
        if self.is_kept and value > position.best_score:
            position.best_step, position.best_score = position.step, value
            best = model()
            position.best_sha256 = weights_digest(best)
            save(self._path(position), best.state_dict())

    def tidy(self, position: Position) -> None:
        """Delete all but the best, which a checkpoint now names. Raises ValueError where one cannot be deleted."""
        for path in self._folder.glob(BEST.format("*")):
            if path != self._path(position):
                try:
                    path.unlink()
                except OSError as error:
                    remedy = f"delete {path.name} yourself and run again to continue"
                    raise ValueError(f"{path} cannot be deleted ({error.strerror}); {remedy}") from error

    def take(self, model: nn.Module, position: Position) -> None:
        """Give `model` the best weights. Raises ValueError when they are gone, damaged or others."""
        take_weights(model, self._path(position), position.best_sha256, f"put the file back, or {ANEW}")

    def _path(self, position: Position) -> Path:
        return self._folder / BEST.format(position.best_step)
