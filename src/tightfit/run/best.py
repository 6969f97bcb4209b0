"""The weights of the best evaluation, where a run keeps those instead of its last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from tightfit.run import checkpoint
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
            checkpoint.save(self._path(position), model().state_dict())

    def tidy(self, position: Position | None = None) -> None:
        """Delete all but the best, which a checkpoint now names, or all, once the run has ended."""
        for path in self._folder.glob("best_*.pt"):
            if position is None or path != self._path(position):
                path.unlink()

    def take(self, model: nn.Module, position: Position) -> None:
        """Give `model` the best weights. Raises ValueError when it is gone or damaged."""
        path = self._path(position)
        weights = checkpoint.load(path)
        if weights is None:
            raise ValueError(f"{path} is gone; delete the folder and run it anew")
        model.load_state_dict(weights)

    def _path(self, position: Position) -> Path:
        return self._folder / f"best_{position.best_step}.pt"
